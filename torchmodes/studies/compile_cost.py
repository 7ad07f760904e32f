"""Compile cost: what a second start costs when the first one has filled the compile caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.folders import private_folder
from torchmodes.processes.jobs import caches_in, run_job
from torchmodes.studies.catalogue import CompileCost, Start

STARTS = ("cold", "warm")


def study(jobs: Sequence[Job], *, log: Path) -> CompileCost:
    """Start each case twice, in two processes that share one compile cache, empty at first."""
    environment = describe_environment()
    return CompileCost(cases=[_start_twice(job, log) for job in jobs], environment=environment)


def _start_twice(job: Job, log: Path) -> Start:
    started: dict[str, Any] = {"case": job.case.identity()}
    with private_folder("cache-") as cache:
        for start in STARTS:
            parts, _ = run_job(
                "torchmodes.measure.case:start", job, log=log, environment=caches_in(cache)
            )
            if parts["status"] != "ok":
                started |= {"status": parts["status"], "reason": parts["reason"]}
                break
            started[f"{start}_s"] = parts["prepare_s"] + parts["first_call_s"]
    return Start.model_validate(started)
