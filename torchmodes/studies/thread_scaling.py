"""Thread scaling: what each further thread brings, one thread and n interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchmodes.config.modes import read_mode
from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job
from torchmodes.studies.catalogue import Threads, ThreadScaling


def study(jobs: Sequence[Job], *, log: Path) -> ThreadScaling:
    """Measure each case with one thread against several, in one process per case."""
    environment = describe_environment()
    return ThreadScaling(cases=[_with_several(job, log) for job in jobs], environment=environment)


def _with_several(job: Job, log: Path) -> Threads:
    case, mode = job.case.identity(), read_mode(job.mode)
    if not mode.threads_at_call:
        reason = f"the engine {mode.engine} fixes its number of threads when it prepares the model"
        return Threads.model_validate({"case": case, "status": "unsupported", "reason": reason})
    parts, _ = run_job(
        "torchmodes.studies.threads_job:measure_threads",
        job,
        log=log,
        counts=thread_counts(job.threads),
    )
    return Threads.model_validate({**parts, "case": case})


def thread_counts(cores: int) -> list[int]:
    """Return the powers of two up to a number of cores, and that number.

    >>> thread_counts(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**exponent for exponent in range(cores.bit_length()) if 2**exponent < cores]
    return [*powers, cores]
