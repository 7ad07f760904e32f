"""The answer for every group as one table, for the page, the summary, the terminal and README."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchmodes.report import sentences
from torchmodes.report.data import ReportData
from torchmodes.report.formatting import (
    NOTHING,
    duration,
    estimate,
    plural,
    relative_error,
    size,
    speed_up,
)
from torchmodes.report.recommendation import (
    Group,
    ModeRecommendation,
    group_cases,
    head_to_head,
    recommend,
)
from torchmodes.report.verdicts import JudgedRecord

HEADS = (
    *("one call of", "ship", "speed-up (95 % interval)", "before → after"),
    *("start, cold / warm", "memory", "right?", "pays back after", "next best"),
)


@dataclass(frozen=True)
class AnswerRow:
    """One group: what to ship in it, and a cell for each of `HEADS`, of two lines at the most."""

    recommendation: ModeRecommendation
    cells: tuple[str, ...]


@dataclass(frozen=True)
class AnswerTable:
    """The answers of a run: heads of the columns that hold anything, a row a group, and remarks."""

    heads: tuple[str, ...]
    rows: tuple[AnswerRow, ...]
    notes: tuple[str, ...]


def answer_table(data: ReportData) -> AnswerTable:
    """Return the answer of every group of a run."""
    found = [_row(recommend(group), data) for group in group_cases(data.cases)]
    kept = [i for i in range(len(HEADS)) if any(row.cells[i] != NOTHING for row in found)]
    rows = (AnswerRow(r.recommendation, tuple(r.cells[i] for i in kept)) for r in found)
    return AnswerTable(tuple(HEADS[i] for i in kept), tuple(rows), tuple(_notes(found)))


def subject(group: Group, data: ReportData) -> str:
    """Name what one call of a group does: ``resnet50, 1 image``."""
    found, deployments = group.deployment, data.deployments
    what = "" if found.task == "inference" else f" {found.task}"
    told = [f"{found.model}{what}", plural(group.batch_size, group.cases[0].record.item)]
    if len({one.device for one in deployments}) > 1:
        told.append(found.device)
    if len({one.machine for one in deployments}) > 1:
        told.append(found.machine.host or str(found.machine))
    return ",\n".join((told[0], ", ".join(told[1:])))


def _row(recommendation: ModeRecommendation, data: ReportData) -> AnswerRow:
    shipped, best = recommendation.shipped, recommendation.best
    return AnswerRow(
        recommendation,
        (
            subject(recommendation.group, data),
            sentences.pick(recommendation),
            _gain(recommendation),
            NOTHING if shipped is None else _times(shipped),
            NOTHING if shipped is None else _starts(shipped),
            NOTHING if shipped is None else _memory(shipped, recommendation.group.baseline),
            NOTHING if best is None else right(best),
            NOTHING if best is None else sentences.break_even(best, bounds=False),
            _next_best(recommendation),
        ),
    )


def _gain(recommendation: ModeRecommendation) -> str:
    if recommendation.best is not None:
        return speed_up(recommendation.best.speed_up)
    return sentences.gained_at_most(recommendation) or NOTHING


def right(judged: JudgedRecord) -> str:
    """Say in a few words how far a case's output is from eager's, and on which weights."""
    found = judged.record.numerics
    if found is None:
        return NOTHING
    said = f"{'yes' if found.within_tolerance else 'no'}, off by {relative_error(found.error)}"
    if judged.record.quality is not None:
        how = judged.record.quality.verdict
        said += f"\n{'open' if how == 'unresolved' else how} on your data"
    elif judged.case.precision != "fp32" and judged.random_weights:
        said += "\non random weights"
    return said


def _times(judged: JudgedRecord) -> str:
    statistics = judged.statistics
    own = duration(statistics.candidate.median_s)
    if judged.case.is_baseline:
        return own
    return f"{duration(statistics.baseline.median_s)} → {own}"


def _starts(judged: JudgedRecord) -> str:
    if judged.warm_s is None:
        return duration(judged.cold_s)
    return f"{duration(judged.cold_s)} / {duration(judged.warm_s)}"


def _memory(judged: JudgedRecord, baseline: JudgedRecord | None) -> str:
    own = size(judged.memory_bytes)
    if baseline is None or baseline is judged or baseline.memory_bytes is None:
        return own
    return f"{size(baseline.memory_bytes)} → {own}"


def _next_best(recommendation: ModeRecommendation) -> str:
    """Name what comes after the pick, and whether the run can tell the two apart."""
    best, second = recommendation.best, recommendation.runner_up
    if best is not None and second is not None:
        against = head_to_head(best, second).verdict
        apart = {"same": ", as fast", "unresolved": ", not ranked"}.get(against, "")
        return f"{second.name}\n{estimate(second.speed_up)}{apart}"
    others = [c for c in recommendation.group.competitors if c is not best]
    others.sort(key=lambda judged: judged.no_verdict is not None)
    if others and others[0].no_verdict is not None:  # its figure is of something else
        return f"{others[0].name}\n{sentences.verdict(others[0])}"
    if not others:
        return NOTHING
    shown = estimate(others[0].speed_up)
    figure = "" if shown == NOTHING else f"{shown} "
    return f"{others[0].name}\n{figure}{sentences.verdict(others[0])}"


def _notes(rows: Sequence[AnswerRow]) -> list[str]:
    best = [b for row in rows if (b := row.recommendation.best) is not None]
    notes = []
    if best:
        notes.append(
            "Before → after: typical times of eager and of the mode, taken in turns. The speed-up"
            " is of neighbouring calls, so it can differ from their ratio. Memory: the peak of a"
            " cold start, each in a process of its own."
        )
    if any(judged.random_weights for judged in best):
        notes.append(
            "Right? is how far the output is from eager's. Weights are random, drawn from the"
            " seed: times do not mind, but in low precision yours can come out differently."
        )
    return notes
