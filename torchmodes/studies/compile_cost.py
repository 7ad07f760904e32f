"""Compile cost: what a second start costs when the first one has filled the compile caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchmodes.config.modes import read_mode
from torchmodes.machine.environment import describe_environment
from torchmodes.processes.folders import private_folder
from torchmodes.processes.jobs import caches_in, run_job

STARTS = ("cold", "warm")


def study_compile_cost(
    cases: Sequence[Mapping[str, Any]],
    *,
    threads: int,
    table: Sequence[str],
    operators: str | None,
    log: Path,
) -> dict[str, Any]:
    """Start each case twice, in two processes that share one compile cache, empty at first.

    Parameters
    ----------
    cases
        For each case what `torchmodes.planning.cases.case_parameters` returns.
    threads
        Threads to compute with.
    table
        Paths of the table and its statistics; training cases need them.
    operators
        Path of the custom operators, or None when no case uses them.
    log
        File for everything the processes print.

    Returns
    -------
    dict
        ``cases``: for each its identity, ``status``, ``reason``, and in seconds ``cold_s`` and
        ``warm_s`` (preparation and first call; null where it did not start); ``environment``.
    """
    environment = describe_environment()
    rows = [
        _start_twice(parameters, threads=threads, table=table, operators=operators, log=log)
        for parameters in cases
    ]
    return {"cases": rows, "environment": environment}


def _start_twice(
    parameters: Mapping[str, Any],
    *,
    threads: int,
    table: Sequence[str],
    operators: str | None,
    log: Path,
) -> dict[str, Any]:
    mode = read_mode(parameters["mode"])
    row: dict[str, Any] = {
        "case": parameters["case"],
        "status": "ok",
        "reason": None,
        "cold_s": None,
        "warm_s": None,
    }
    with private_folder("cache-") as cache:
        for start in STARTS:
            parts, _ = run_job(
                "torchmodes.measure.case:start",
                {
                    "parameters": dict(parameters),
                    "threads": threads,
                    "table": list(table),
                    "operators": operators if mode.uses_custom_operators() else None,
                },
                log=log,
                environment=caches_in(cache),
            )
            if parts["status"] != "ok":
                return row | {"status": parts["status"], "reason": parts["reason"]}
            row[f"{start}_s"] = parts["prepare_s"] + parts["first_call_s"]
    return row
