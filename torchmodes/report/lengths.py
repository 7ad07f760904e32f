"""Batches of different sizes: which padding in which mode works through most, and each length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torchmodes.report.formatting import duration, percent, plural, rate, ratio
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import Schedule, ShapeTimes

WAYS = {"padding", "buckets", "sorted", "side"}
"""Keys of `lengths` that say how the same texts are put into batches."""
BY_CASE = (
    *("model", "mode", "batch", "padding", "shapes", "useful", "items/s"),
    *("a pass", "in eager", "again"),
)
BY_LENGTH = ("model", "mode", "shape", "batches", "samples", "eager", "mode's", "speed-up")


@dataclass(frozen=True)
class LengthsFound:
    """What the schedules of a run say: a sentence per set of texts, and two tables."""

    sentences: tuple[str, ...]
    by_case: list[list[str]]
    by_length: list[list[str]]


def lengths_found(cases: Sequence[JudgedRecord]) -> LengthsFound | None:
    """Tell what was measured on schedules; None where nothing was."""
    pairs = [(j, j.record.schedule) for j in cases if j.measured and j.record.schedule is not None]
    if not pairs:
        return None
    alike: dict[str, list[JudgedRecord]] = {}
    for judged, _ in pairs:
        alike.setdefault(_texts(judged), []).append(judged)
    return LengthsFound(
        sentences=tuple(_winner(group) for group in alike.values()),
        by_case=[_case_row(judged, schedule) for judged, schedule in pairs],
        by_length=[
            _length_row(judged, shape) for judged, schedule in pairs for shape in schedule.shapes
        ],
    )


def _texts(judged: JudgedRecord) -> str:
    """Return what cases must share to be ways of doing the same work."""
    model = dict(judged.record.parameters.get("model", {}))
    lengths = model.get("lengths")
    if isinstance(lengths, Mapping):
        model["lengths"] = {key: lengths[key] for key in lengths if key not in WAYS}
    case = judged.case
    return repr((judged.machine, case.device, sorted(model.items(), key=repr)))


def _winner(group: Sequence[JudgedRecord]) -> str:
    """Say which of the cases that do the same work does most of it a second, and in eager."""
    whole = [j for j in group if (told := j.record.schedule) and told.pass_s is not None]
    if not whole:
        return (
            f"Of {plural(len(group), 'way')} to work through the same texts none was timed on every"
            " batch: raise measurement.budget_s, or runs."
        )
    best = max(whole, key=lambda judged: judged.statistics.throughput_per_s)
    eager = [judged for judged in whole if judged.case.is_baseline]
    told = (
        f"Of {plural(len(whole), 'way')} to work through the same texts, {_way(best)} gets through"
        f" most: {_speed(best)}"
    )
    if best.no_verdict is not None:
        return f"{told}; but nothing is concluded from it: {best.no_verdict}."
    if not eager or best.case.is_baseline:
        return f"{told}."
    other = max(eager, key=lambda judged: judged.statistics.throughput_per_s)
    return f"{told}; the best in eager is {_way(other)}, {_speed(other)}."


def _way(judged: JudgedRecord) -> str:
    return f"{judged.case.model} in {judged.name}, batch {judged.case.batch_size:,}"


def _speed(judged: JudgedRecord) -> str:
    return f"{rate(judged.statistics.throughput_per_s)} {judged.record.item}s a second"


def _case_row(judged: JudgedRecord, schedule: Schedule) -> list[str]:
    while_timed = schedule.recompiles_while_sampling
    return [
        judged.case.model,
        judged.name,
        f"{judged.case.batch_size:,}",
        schedule.padding or "—",
        str(len(schedule.shapes)),
        percent(schedule.useful_share),
        rate(judged.statistics.throughput_per_s),
        duration(schedule.pass_s),
        duration(schedule.baseline_pass_s),
        f"{schedule.recompiles}" + (f", {while_timed} while timed" if while_timed else ""),
    ]


def _length_row(judged: JudgedRecord, shape: ShapeTimes) -> list[str]:
    eager_s, mode_s = shape.baseline_median_s, shape.median_s
    return [
        judged.case.model,
        judged.name,
        "×".join(map(str, shape.shape)),
        str(shape.batches),
        str(shape.samples),
        duration(eager_s),
        duration(mode_s),
        ratio(eager_s / mode_s if eager_s and mode_s else None),
    ]
