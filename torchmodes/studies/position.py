"""Position: how long a decode step takes as the cache fills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job
from torchmodes.studies.catalogue import Position, Positions


def study(jobs: Sequence[Job], *, log: Path) -> Position:
    """Measure a step of each case at several positions of the cache, in one process per case."""
    environment = describe_environment()
    return Position(cases=[_at_several(job, log) for job in jobs], environment=environment)


def _at_several(job: Job, log: Path) -> Positions:
    target = "torchmodes.studies.position_job:measure_positions"
    parts, _ = run_job(target, job, log=log)
    return Positions.model_validate({**parts, "case": job.case.identity()})
