"""Profile, or measure the machine, in a process of its own; write a result however that ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchmodes.processes.jobs import run_job, shared_compile_cache
from torchmodes.profiling.files import SUMMARY, start_empty
from torchmodes.results.writing import write_atomically


def profile_supervised(
    parameters: Mapping[str, Any],
    *,
    schedule: Mapping[str, Any],
    threads: int,
    table: Sequence[str],
    operators: str | None,
    directory: Path,
    log: Path,
) -> dict[str, Any]:
    """Profile a case.

    Parameters
    ----------
    parameters
        What `torchmodes.planning.cases.case_parameters` returns.
    schedule
        ``wait``, ``warmup``, ``active`` steps, ``with_stack`` and ``compiled_kernels``.
    threads
        Threads to compute with.
    table
        Paths of the table and its statistics; training cases need them.
    operators
        Path of the custom operators, where the mode uses them.
    directory
        Where the files of `torchmodes.profiling.files` go. Where the case did not run, trace and
        tables are empty, and the summary says why.
    log
        File for everything the process prints.
    """
    start_empty(directory)
    parts, outcome = run_job(
        "torchmodes.profiling.trace:profile_case",
        {
            "parameters": dict(parameters),
            "profile": dict(schedule),
            "threads": threads,
            "table": list(table),
            "operators": operators,
            "directory": str(directory),
        },
        log=log,
        environment=shared_compile_cache(),
    )
    if outcome is not None and parts["status"] != "ok":
        start_empty(directory)  # nothing half-written stays
    told = {"case": parameters["case"], **parts}
    write_atomically(directory / SUMMARY, json.dumps(told, indent=1) + "\n")
    return told


def measure_machine_supervised(
    device: str, limits: Mapping[str, Any], *, threads: int, output: Path, log: Path
) -> dict[str, Any]:
    """Measure the peaks of a device and write them; a failure is written too.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``mps``.
    limits
        ``time_limit_s``, ``memory_limit_mb`` and ``start``, as for a case.
    threads
        Threads that cases run with.
    output
        JSON file to write.
    log
        File for everything the process prints.
    """
    found, _ = run_job(
        "torchmodes.machine.peaks:measure_machine",
        {
            "parameters": {"measurement": dict(limits)},
            "device": device,
            "threads": threads,
            "operators": None,
        },
        log=log,
    )
    write_atomically(output, json.dumps(found, indent=1) + "\n")
    return found
