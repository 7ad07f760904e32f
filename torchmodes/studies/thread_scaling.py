"""Thread scaling: what each further thread brings, one thread and n interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmodes.config.modes import read_mode
from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job


def study_thread_scaling(
    jobs: Sequence[Job], *, counts: Sequence[int], log: Path
) -> dict[str, Any]:
    """Measure each case with one thread against several, in one process per case.

    Parameters
    ----------
    jobs
        The cases.
    counts
        Numbers of threads to compare with one.
    log
        File for everything the processes print.

    Returns
    -------
    dict
        ``cases``: for each its identity, ``status``, ``reason`` and ``points``: ``threads``,
        ``latency_s`` (median), ``speed_up`` over one thread (estimate, low, high); ``environment``.
    """
    environment = describe_environment()
    rows = []
    for job in jobs:
        mode = read_mode(job.mode)
        row: dict[str, Any] = {"case": job.case.identity(), "points": []}
        if not mode.threads_at_call:
            reason = (
                f"the engine {mode.engine} fixes its number of threads when it prepares the model"
            )
            rows.append(row | {"status": "unsupported", "reason": reason})
            continue
        parts, _ = run_job(
            "torchmodes.studies.threads_job:measure_threads",
            job,
            log=log,
            counts=list(counts),
        )
        rows.append(
            row
            | {
                "status": parts["status"],
                "reason": parts.get("reason"),
                "points": parts.get("points", []),
            }
        )
    return {"cases": rows, "environment": environment}


def thread_counts(cores: int) -> list[int]:
    """Return the powers of two up to a number of cores, and that number.

    >>> thread_counts(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**exponent for exponent in range(cores.bit_length()) if 2**exponent < cores]
    return [*powers, cores]
