"""The tidy table: one row per case, every figure a column with its unit in its name.

Its columns are the plain fields of a record's parts, so that a new field is a new column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pandas as pd

from torchmodes.planning.cases import case_at
from torchmodes.report.environments import mapping
from torchmodes.report.verdicts import JudgedRecord, judge
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Interval, Part, Record
from torchmodes.results.writing import write_atomically

_DTYPES = {str: "string", bool: "boolean", int: "Int64", float: "Float64"}


@dataclass(frozen=True)
class TableColumn:
    """A column: its type, the same in every run, and what it shows of a case."""

    name: str
    dtype: str
    value: Callable[[JudgedRecord], Any]


def _fields(
    path: str,
    *,
    prefix: str = "",
    names: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> Iterator[TableColumn]:
    """Yield a column for each plain field of a part of a record, and three for an interval.

    Parameters
    ----------
    path
        Where the part is in a record, such as ``statistics.candidate``; empty: the record itself.
    prefix
        Of the columns' names, before those of the fields.
    names
        Columns that are called otherwise, by field.
    without
        Fields that are no columns.
    """
    for field, about in _part_at(path).model_fields.items():
        name = (names or {}).get(field, prefix + (about.serialization_alias or field))
        types = _types(about.annotation) - {NoneType}
        if field in without or len(types) != 1:
            continue
        if types == {Interval}:
            for bound, end in (("estimate", ""), ("low", "_low"), ("high", "_high")):
                yield TableColumn(f"{name}{end}", "Float64", recorded(f"{path}.{field}.{bound}"))
        elif dtype := _DTYPES.get(*types):
            yield TableColumn(name, dtype, recorded(f"{path}.{field}"))


def _part_at(path: str) -> type[Part]:
    """Return the type of a part of a record."""
    part: type[Part] = Record
    for field in filter(None, path.split(".")):
        (part,) = _types(part.model_fields[field].annotation) - {NoneType}
    return part


def _types(annotation: Any) -> set[Any]:
    """Return the types that an annotation admits, without what pydantic checks beside them."""
    match get_origin(annotation):
        case origin if origin in (Union, UnionType):
            return set().union(*map(_types, get_args(annotation)))
        case origin if origin is Annotated:
            return _types(get_args(annotation)[0])
        case origin if origin is Literal:
            return set(map(type, get_args(annotation)))
        case _:
            return {annotation}


def recorded(path: str) -> Callable[[JudgedRecord], Any]:
    """Return what finds a value in a case's record, such as ``cost.import_s``, or else None."""
    fields = list(filter(None, path.split(".")))

    def value(judged: JudgedRecord) -> Any:
        found: Any = judged.record
        for field in fields:
            if found is None:
                return None
            found = getattr(found, field)
        return found

    return value


def _environment(name: str, *keys: str) -> Callable[[JudgedRecord], str | None]:
    def value(judged: JudgedRecord) -> str | None:
        found = judged.record.environment
        for key in keys:
            found = mapping(found.get(key))
        return None if found.get(name) is None else str(found[name])

    return value


def _timed_part(name: str) -> Iterator[TableColumn]:
    """Yield the columns of a part of a generation that was timed beside the step."""
    path, columns = f"generation.{name}", f"generation_{name}_"
    yield from _fields(path, prefix=columns, without=("log_speed_up", "standard_error"))
    for side, prefix in (("candidate", ""), ("baseline", "baseline_")):
        column = f"{columns}{prefix}median_s"
        yield TableColumn(column, "Float64", recorded(f"{path}.{side}.median_s"))


def _git_dirty(judged: JudgedRecord) -> bool | None:
    dirty = mapping(judged.record.environment.get("git")).get("dirty")
    return dirty if isinstance(dirty, bool) else None


COLUMNS: tuple[TableColumn, ...] = (
    *_fields("case"),
    *_fields("", without=("schema_version", "no_verdict", "doubted", "flops")),
    TableColumn("no_verdict", "string", lambda judged: judged.no_verdict),
    TableColumn("verdict_holm", "string", lambda judged: judged.verdict),
    TableColumn("p_holm", "Float64", lambda judged: judged.adjusted_p),
    *_fields("statistics"),
    *_fields("statistics.candidate", prefix="latency_", without=("standard_deviation_s", "p50_s")),
    TableColumn("baseline_latency_median_s", "Float64", recorded("statistics.baseline.median_s")),
    *_fields("samples", without=("timer_s", "empty_sample_s")),
    *_fields("schedule", prefix="schedule_"),
    TableColumn("cold_s", "Float64", lambda judged: judged.cold_s),
    *_fields("cost"),
    *_fields("numerics", without=("reason",)),
    *_fields(
        "exactness",
        prefix="fp64_",
        names={"eager": "fp64_error_eager", "mode": "fp64_error"},
        without=("reason",),
    ),
    *_fields("agreement", prefix="agreement_"),
    *_fields("quality", prefix="quality_"),
    *_fields("energy", without=("joules", "seconds", "source", "reason", "calls", "items")),
    *_fields("generation", prefix="generation_"),
    TableColumn("generation_tokens_per_s", "Float64", recorded("generation.tokens_per_s")),
    *_timed_part("prefill"),
    *_timed_part("whole"),
    *_fields("usage"),
    *_fields("baseline_usage", prefix="baseline_"),
    *_fields("warmup", prefix="warmup_", names={"seconds": "warmup_s", "steady": "steady"}),
    *_fields("failure", prefix="failure_", without=("traceback", "log")),
    *_fields(
        "run",
        without=(
            *("finished_at", "start_s", "other_load_at_start", "sampling_s", "stopped_s"),
            *("bookkeeping_share", "torch_threads"),
        ),
    ),
    TableColumn("slowed_by", "Float64", lambda judged: judged.slowed_by),
    TableColumn("warnings", "string", lambda judged: "; ".join(judged.record.warnings) or None),
    TableColumn("host", "string", lambda judged: judged.machine.host or None),
    TableColumn("cpu", "string", lambda judged: judged.machine.cpu or None),
    TableColumn("cores", "Int64", lambda judged: judged.machine.cores or None),
    TableColumn("gpu", "string", lambda judged: judged.machine.gpu or None),
    TableColumn("os", "string", _environment("os")),
    TableColumn("python", "string", _environment("python")),
    TableColumn("torch", "string", _environment("torch", "versions")),
    TableColumn("git_revision", "string", _environment("revision", "git")),
    TableColumn("git_dirty", "boolean", _git_dirty),
)


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
    rows = [{column.name: column.value(judged) for column in COLUMNS} for judged in cases]
    rows += map(_unreadable_row, unreadable)
    table = pd.DataFrame(rows, columns=[column.name for column in COLUMNS], dtype=object)
    return table.astype({column.name: column.dtype for column in COLUMNS})


def write_summary(table: pd.DataFrame, csv: Path, parquet: Path) -> None:
    """Write the tidy table as CSV and as Parquet."""
    write_atomically(csv, table.to_csv(index=False, lineterminator="\n"))
    parquet.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(parquet, index=False)


def _unreadable_row(one: Unreadable) -> dict[str, Any]:
    case = case_at(one.path)
    identity = {} if case is None else case.identity()
    reason = f"{one.path} {one.reason}"
    return {**identity, "status": "unreadable", "reason": reason, "remedy": one.remedy}
