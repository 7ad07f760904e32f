"""The tidy table: one row per case, every figure a column with its unit in its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from torchmodes.planning.cases import case_at
from torchmodes.report.environments import mapping
from torchmodes.report.verdicts import JudgedRecord, judge
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Interval, Latency, Record
from torchmodes.results.writing import write_atomically

_COST = (
    "import_s",
    "build_s",
    "prepare_s",
    "first_call_s",
    "baseline_first_call_s",
    "peak_host_bytes",
    "peak_children_bytes",
    "cuda_allocated_bytes",
    "cuda_reserved_bytes",
    "parameter_bytes",
    "artefact_bytes",
    "cpu_cores_used",
    "other_load",
    "stolen",
    "cores_missing",
    "gpu_utilisation",
)
_NUMERICS = (
    "within_tolerance",
    "compared",
    "max_abs",
    "max_rel",
    "relative_l2",
    "differing",
    "cosine",
    "tolerance",
    "input_sets",
    "inputs",
)
_STATISTICS = (
    "quads",
    "half_width",
    "converged",
    "noise_floor",
    "margin",
    "p_value",
    "throughput_per_s",
    "drift",
    "drifting",
    "autocorrelation",
    "autocorrelated",
)
_LATENCY = ("median_s", "mean_s", "min_s", "max_s", "p90_s", "p95_s", "p99_s")
_ENVIRONMENT = ("host", "cpu", "cores", "gpu", "os", "python", "torch", "git_revision", "git_dirty")


def _bounds(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


COLUMNS: tuple[str, ...] = (
    *("task", "device", "model", "mode", "precision", "batch_size"),
    *("status", "verdict", "verdict_holm", "p_holm", *_bounds("speed_up")),
    *_STATISTICS,
    *("calls_per_sample", "clock", *(f"latency_{name}" for name in _LATENCY)),
    *("latency_n", "baseline_latency_median_s", "item"),
    *("cold_s", *_COST, *_bounds("break_even_calls")),
    *_NUMERICS,
    *("joules_per_item", "warmup_calls", "warmup_s", "steady"),
    *("no_effect", "no_verdict", "reason", "remedy", "failure_type", "failure_message"),
    *("threads", "start_method", "started_at", "wall_s", "slowed_by", "warnings"),
    *_ENVIRONMENT,
)
_TEXTS = {
    *("task", "device", "model", "mode", "precision", "status", "verdict", "verdict_holm"),
    *("clock", "item", "compared", "inputs", "no_effect", "no_verdict", "reason", "remedy"),
    *("failure_type", "failure_message", "start_method", "started_at", "warnings"),
    *("host", "cpu", "gpu", "os", "python", "torch", "git_revision"),
}
_FLAGS = {"converged", "drifting", "autocorrelated", "within_tolerance", "steady", "git_dirty"}
_INTEGERS = {
    *("batch_size", "quads", "calls_per_sample", "latency_n", "warmup_calls", "threads", "cores"),
}


def summary_table(records: Sequence[Record], unreadable: Sequence[Unreadable] = ()) -> pd.DataFrame:
    """Return one row per case, sorted by machine and case; those of unreadable records at the end.

    Seconds end in ``_s``, bytes in ``_bytes``; speed-ups are ratios, shares plain numbers.
    ``verdict`` is the case's own, ``verdict_holm`` the one that stands among all cases of the run.
    What does not exist is missing (empty in CSV, null in Parquet).
    """
    return judged_table(judge(records), unreadable)


def judged_table(
    cases: Sequence[JudgedRecord], unreadable: Sequence[Unreadable] = ()
) -> pd.DataFrame:
    """Return the tidy table of cases that are judged already."""
    rows = [*map(_row, cases), *map(_unreadable_row, unreadable)]
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return table.astype({name: _dtype(name) for name in COLUMNS})


def _dtype(name: str) -> str:
    """Return a column's type: the same in every run, whatever happens to be missing."""
    if name in _TEXTS:
        return "string"
    if name in _FLAGS:
        return "boolean"
    return "Int64" if name in _INTEGERS or name.endswith("_bytes") else "Float64"


def write_summary(table: pd.DataFrame, csv: Path, parquet: Path) -> None:
    """Write the tidy table as CSV and as Parquet."""
    write_atomically(csv, table.to_csv(index=False, lineterminator="\n"))
    parquet.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(parquet, index=False)


def _unreadable_row(one: Unreadable) -> dict[str, Any]:
    case = case_at(one.path)
    told = {"status": "unreadable", "reason": f"{one.path} {one.reason}", "remedy": one.remedy}
    return told if case is None else {**case.identity(), **told}


def _row(judged: JudgedRecord) -> dict[str, Any]:
    record = judged.record
    row: dict[str, Any] = {
        **record.case.model_dump(),
        "status": record.status,
        "verdict": record.verdict,
        "verdict_holm": judged.verdict,
        "p_holm": judged.adjusted_p,
        "item": record.item,
        "cold_s": judged.cold_s,
        "no_effect": record.no_effect,
        "no_verdict": judged.no_verdict,
        "reason": record.reason,
        "remedy": record.remedy,
        "threads": record.run.threads,
        "start_method": record.run.start_method,
        "started_at": record.run.started_at,
        "wall_s": record.run.wall_s,
        "slowed_by": judged.slowed_by,
        "warnings": "; ".join(record.warnings) or None,
    }
    if record.samples is not None:
        row |= {
            "calls_per_sample": record.samples.calls_per_sample,
            "clock": record.samples.clock,
        }
    if record.statistics is not None:
        row |= _interval("speed_up", record.statistics.speed_up)
        row |= {name: getattr(record.statistics, name) for name in _STATISTICS}
        row |= _latency(record.statistics.candidate)
        row["baseline_latency_median_s"] = record.statistics.baseline.median_s
    if record.cost is not None:
        row |= {name: getattr(record.cost, name) for name in _COST}
        row |= _interval("break_even_calls", record.cost.break_even_calls)
    if record.numerics is not None:
        row |= {name: getattr(record.numerics, name) for name in _NUMERICS}
    if record.energy is not None:
        row["joules_per_item"] = record.energy.joules_per_item
    if record.warmup is not None:
        row |= {
            "warmup_calls": record.warmup.calls,
            "warmup_s": record.warmup.seconds,
            "steady": record.warmup.steady,
        }
    if record.failure is not None:
        row |= {"failure_type": record.failure.type, "failure_message": record.failure.message}
    return row | _environment(judged)


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {}
    return dict(zip(_bounds(name), (interval.estimate, interval.low, interval.high), strict=True))


def _latency(latency: Latency) -> dict[str, Any]:
    return {f"latency_{name}": getattr(latency, name) for name in _LATENCY} | {
        "latency_n": latency.n
    }


def _environment(judged: JudgedRecord) -> dict[str, Any]:
    environment = judged.record.environment
    versions, git = mapping(environment.get("versions")), mapping(environment.get("git"))
    machine = judged.machine
    return {
        "host": machine.host or None,
        "cpu": machine.cpu or None,
        "cores": machine.cores or None,
        "gpu": machine.gpu or None,
        "os": _text(environment.get("os")),
        "python": _text(environment.get("python")),
        "torch": _text(versions.get("torch")),
        "git_revision": _text(git.get("revision")),
        "git_dirty": dirty if isinstance(dirty := git.get("dirty"), bool) else None,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
