"""Which process is the workflow that a job belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil


def workflow_process() -> psutil.Process:
    """Find the process that the fork server lives for.

    It is the outermost ancestor that is Snakemake, so that all jobs of a workflow find one server,
    and without one the calling process.
    """
    own = psutil.Process()
    for ancestor in reversed(own.parents()):
        with suppress(psutil.Error):  # it has just ended, or is somebody else's
            if is_snakemake(ancestor.cmdline()):
                return ancestor
    return own


def is_snakemake(command: Sequence[str]) -> bool:
    """Tell whether a command line is Snakemake itself, not a shell or an editor that names it."""
    names = [Path(word).name for word in command]
    if not names or not names[0].startswith("python"):
        return names[:1] == ["snakemake"]
    words = iter(names[1:])
    for word in words:
        if word in ("-X", "-W"):
            next(words, None)  # its value
        elif word == "-m":
            return next(words, "") in ("snakemake", "snakemake.cli")
        elif not word.startswith("-"):
            return word == "snakemake"
        elif word == "-c":
            return False
    return False
