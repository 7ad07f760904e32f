"""The workflow that a job belongs to: its process id is in the environment."""

from __future__ import annotations

import os

import psutil

VARIABLE = "TORCHMODES_WORKFLOW"


def workflow_process() -> psutil.Process:
    """Return the process that the fork server lives for; without a workflow it is the caller."""
    own = psutil.Process()
    named = os.environ.get(VARIABLE)
    return next((ancestor for ancestor in own.parents() if str(ancestor.pid) == named), own)


def name_workflow() -> None:
    """Let this process be the workflow of all that it starts, unless it is part of one itself."""
    if workflow_process().pid == os.getpid():
        os.environ[VARIABLE] = str(os.getpid())
