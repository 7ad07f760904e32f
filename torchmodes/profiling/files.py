"""The files of a profile, by name and with their columns; docs/profiles.md explains them.

Nothing here imports PyTorch: the profiler runs in the process of a job.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job, shared_compile_cache
from torchmodes.profiling.stacks import StacksFile
from torchmodes.results.writing import write_atomically

TRACE = "trace.json.gz"
OVERVIEW = "overview.json"
SUMMARY = "summary.json"
STACKS = "stacks.speedscope.json"
BY_HOOKS = "the forward pass, by module"
"""What `layers.csv` holds, as the summary says it, of a mode that calls modules."""
GENERATED_CODE = "internals"
"""The folder of what the mode made of the model: graphs, generated code."""

OPERATOR_COLUMNS = (
    *("operator", "calls", "self_cpu_s", "total_cpu_s", "mean_s", "lean_self_s"),
    *("self_device_s", "total_device_s", "flops", "memory_bytes", "shapes"),
)
KERNEL_COLUMNS = (
    *("kernel", "calls", "total_s", "mean_s", "min_s", "max_s", "blocks_per_sm", "occupancy"),
    *("tensor_cores", "launch_delay_s"),
)
FUSED_COLUMNS = ("kernel", "operators", "calls", "total_s")
LAYER_COLUMNS = (
    *("layer", "kind", "depth", "order", "calls", "total_s", "self_s", "flops", "parameters"),
)
MEMORY_COLUMNS = ("phase", "time_s", "rss_bytes", "allocated_bytes", "reserved_bytes")
TIMELINE_COLUMNS = ("operator", "where", "start_s", "end_s")
PYTHON_COLUMNS = ("function", "calls", "self_s", "cumulative_s")
TABLES = {
    "operators.csv": OPERATOR_COLUMNS,
    "kernels.csv": KERNEL_COLUMNS,
    "fused.csv": FUSED_COLUMNS,
    "layers.csv": LAYER_COLUMNS,
    "memory.csv": MEMORY_COLUMNS,
    "python.csv": PYTHON_COLUMNS,
    "timeline.csv": TIMELINE_COLUMNS,
}


def write_profile(
    job: Job, *, schedule: Mapping[str, Any], directory: Path, log: Path
) -> dict[str, Any]:
    """Profile a case in a process of its own, and write its files however that ends.

    The schedule is as under ``profile`` in the configuration. Where the case did not run, trace and
    tables are empty, and the summary, which is returned, says why.
    """
    start_empty(directory)
    parts, outcome = run_job(
        "torchmodes.profiling.trace:profile_case",
        job,
        log=log,
        environment=shared_compile_cache(),
        schedule=dict(schedule),
        directory=str(directory),
    )
    if outcome is not None and parts["status"] != "ok":
        start_empty(directory)  # nothing half-written stays
    summary = {"case": job.case.identity(), **parts}
    write_atomically(directory / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def start_empty(directory: Path) -> None:
    """Write every file as a case that did not run leaves it: tables with their header alone."""
    (directory / GENERATED_CODE).mkdir(parents=True, exist_ok=True)
    for name in (TRACE, OVERVIEW, STACKS, *TABLES):
        write_empty(directory / name)


def write_empty(path: Path) -> None:
    """Write one file of a profile as it is where there is nothing to tell."""
    if path.name == TRACE:
        with gzip.open(path, "wt", encoding="utf-8") as file:
            json.dump({"traceEvents": []}, file)
    elif path.name == STACKS:
        path.write_text(StacksFile().text(), encoding="utf-8")
    elif path.name == OVERVIEW:
        path.write_text("{}\n", encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(TABLES[path.name])
