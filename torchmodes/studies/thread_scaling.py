"""Thread scaling: what each further thread brings, one thread and n interleaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchmodes.config.modes import read_mode
from torchmodes.machine.environment import describe_environment
from torchmodes.processes.jobs import run_job


def study_thread_scaling(
    cases: Sequence[Mapping[str, Any]],
    *,
    threads: Sequence[int],
    table: Sequence[str],
    operators: str | None,
    log: Path,
) -> dict[str, Any]:
    """Measure each case with one thread against several, in one process per case.

    Parameters
    ----------
    cases
        For each case what `torchmodes.planning.cases.case_parameters` returns.
    threads
        Numbers of threads to compare with one.
    table, operators, log
        As in `torchmodes.studies.compile_cost.study_compile_cost`.

    Returns
    -------
    dict
        ``cases``: for each its identity, ``status``, ``reason`` and ``points``: ``threads``,
        ``latency_s`` (median), ``speed_up`` over one thread (estimate, low, high); ``environment``.
    """
    environment = describe_environment()
    rows = []
    for parameters in cases:
        mode = read_mode(parameters["mode"])
        row: dict[str, Any] = {"case": parameters["case"], "points": []}
        if not mode.threads_at_call:
            reason = (
                f"the engine {mode.engine} fixes its number of threads when it prepares the model"
            )
            rows.append(row | {"status": "unsupported", "reason": reason})
            continue
        parts, _ = run_job(
            "torchmodes.studies.threads_job:measure_threads",
            {
                "parameters": dict(parameters),
                "threads": max(threads),
                "counts": list(threads),
                "table": list(table),
                "operators": operators if mode.uses_custom_operators() else None,
            },
            log=log,
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
