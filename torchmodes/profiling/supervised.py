"""Profile in a process of its own, and write a summary however that ends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchmodes.jobs import run_job, shared_compile_cache
from torchmodes.writing import write_atomically


def profile_supervised(
    parameters: Mapping[str, Any],
    *,
    schedule: Mapping[str, Any],
    threads: int,
    table: Sequence[str],
    operators: str | None,
    trace: Path,
    operators_table: Path,
    summary: Path,
    log: Path,
) -> dict[str, Any]:
    """Profile a case.

    Parameters
    ----------
    parameters
        What `torchmodes.cases.case_parameters` returns.
    schedule
        ``wait``, ``warmup``, ``active`` steps and ``with_stack``.
    threads
        Threads to compute with.
    table
        Paths of the table and its statistics; training cases need them.
    operators
        Path of the custom operators, where the mode uses them.
    trace, operators_table, summary
        Paths to write: a gzipped Chrome trace, CSV and JSON. Trace and table are empty when the
        case did not run; the summary says why.
    log
        File for everything the process prints.
    """
    with gzip.open(trace, "wt", encoding="utf-8") as file:
        json.dump({"traceEvents": []}, file)
    operators_table.write_text("operator\n", encoding="utf-8")
    parts, _ = run_job(
        "torchmodes.profiling.trace:profile_case",
        {
            "parameters": dict(parameters),
            "profile": dict(schedule),
            "threads": threads,
            "table": list(table),
            "operators": operators,
            "trace": str(trace),
            "operators_table": str(operators_table),
        },
        log=log,
        environment=shared_compile_cache(),
    )
    told = {"case": parameters["case"], **parts}
    write_atomically(summary, json.dumps(told, indent=1) + "\n")
    return told
