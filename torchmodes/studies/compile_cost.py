"""Compile cost: what a second start costs when the first one has filled the compile caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.folders import private_folder
from torchmodes.processes.jobs import caches_in, run_job

STARTS = ("cold", "warm")


def study_compile_cost(jobs: Sequence[Job], *, log: Path) -> dict[str, Any]:
    """Start each case twice, in two processes that share one compile cache, empty at first.

    Parameters
    ----------
    jobs
        The cases.
    log
        File for everything the processes print.

    Returns
    -------
    dict
        ``cases``: for each its identity, ``status``, ``reason``, and in seconds ``cold_s`` and
        ``warm_s`` (preparation and first call; null where it did not start); ``environment``.
    """
    environment = describe_environment()
    return {"cases": [_start_twice(job, log=log) for job in jobs], "environment": environment}


def _start_twice(job: Job, *, log: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "case": job.case.identity(),
        "status": "ok",
        "reason": None,
        "cold_s": None,
        "warm_s": None,
    }
    with private_folder("cache-") as cache:
        for start in STARTS:
            parts, _ = run_job(
                "torchmodes.measure.case:start", job, log=log, environment=caches_in(cache)
            )
            if parts["status"] != "ok":
                return row | {"status": parts["status"], "reason": parts["reason"]}
            row[f"{start}_s"] = parts["prepare_s"] + parts["first_call_s"]
    return row
