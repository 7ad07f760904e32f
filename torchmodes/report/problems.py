"""What was not measured, or not well enough: why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torchmodes.planning.cases import Case, case_at
from torchmodes.report import sentences
from torchmodes.report.data import ReportData, TrainingRun
from torchmodes.report.environments import Machine
from torchmodes.report.formatting import percent, ratio_digits, ratio_range
from torchmodes.report.recommendation import statistics_of
from torchmodes.report.verdicts import JudgedRecord

Kind = Literal[
    "unreadable",
    "failed",
    "wrong",
    "worse",
    "unsupported",
    "no effect",
    "unresolved",
    "unconverged",
]
KINDS: tuple[Kind, ...] = (
    "unreadable",
    "failed",
    "wrong",
    "worse",
    "unsupported",
    "no effect",
    "unresolved",
    "unconverged",
)
MEANINGS: dict[Kind, str] = {
    "unreadable": "There is a file, but not one that can be read: this page stands without it.",
    "failed": "The case ended with an error.",
    "wrong": "It ran, but its output is outside tolerance, or its training diverged.",
    "worse": "It ran, and is worse than eager on your data by more than the margin: not picked.",
    "unsupported": "The mode cannot run this case, for a reason known before or told by PyTorch.",
    "no effect": "The mode did nothing, so it is not compared.",
    "unresolved": "The interval neither excludes an effect nor shows one, or the machine was busy.",
    "unconverged": "The interval is wider than asked for when the time budget ended.",
}


_LESS_LOSS = "use another mode or precision, or allow more by the model's quality_margin"


@dataclass(frozen=True)
class Problem:
    """One reason why a figure is missing or weak."""

    kind: Kind
    case: str
    reason: str
    remedy: str
    traceback: str | None = None
    log: str | None = None


def problems(data: ReportData) -> list[Problem]:
    """Return every problem of a run, the worst kinds first."""
    found = [
        Problem("unreadable", _named(one.path), f"{one.path} {one.reason}", one.remedy)
        for one in (*data.unreadable_cases, *data.unreadable_files)
    ]
    # A model that is wrong against itself is told once, by its A/A case.
    models_fault = {_blame(judged) for judged in data.cases if judged.case.is_baseline} - {None}
    found += [
        problem
        for judged in data.cases
        if judged.case.is_baseline or _blame(judged) not in models_fault
        for problem in _of_case(judged)
    ]
    found += [problem for run in data.trainings for problem in _of_training(run)]
    return sorted(found, key=lambda problem: KINDS.index(problem.kind))


def all_well(data: ReportData) -> str:
    """Say that there is no problem, in a run that has none."""
    if not data.cases:
        return "No case was benchmarked."
    return "Every case ran, came out right, and was settled to the precision asked for."


def bad(found: Sequence[Problem]) -> list[Problem]:
    """Return the problems that ``strict: true`` does not accept."""
    return [problem for problem in found if problem.kind in ("unreadable", "failed", "wrong")]


def _named(path: Path) -> str:
    """Return the case that a record's path names, or the path of another file."""
    case = case_at(path)
    return str(path) if case is None else str(case)


def _blame(judged: JudgedRecord) -> tuple[Machine, Case, str] | None:
    """Return what makes two wrong cases of a group the same problem; None where it is not wrong."""
    if judged.record.status != "wrong" or judged.record.reason is None:
        return None
    return judged.machine, judged.case.baseline, judged.record.reason


def _of_case(judged: JudgedRecord) -> Iterator[Problem]:
    record, name = judged.record, str(judged.case)
    if record.status != "ok":
        failure = record.failure
        yield Problem(
            record.status,
            name,
            _first(record.reason, failure.message if failure else None, "no reason was recorded"),
            record.remedy or "",
            failure.traceback if failure else None,
            failure.log if failure else None,
        )
        return
    if record.no_effect is not None:
        yield Problem("no effect", name, record.no_effect, "choose another mode")
    elif record.is_worse:
        yield Problem("worse", name, sentences.quality(judged) or "", _LESS_LOSS)
    elif judged.no_verdict is not None:
        yield Problem("unresolved", name, judged.no_verdict, judged.no_verdict_remedy)
    elif judged.verdict == "unresolved" and not judged.case.is_baseline:
        yield Problem("unresolved", name, _unresolved(judged), _settle(judged))
    if record.statistics is not None and not record.statistics.converged:
        yield Problem("unconverged", name, _width(judged), _more_time())


def _of_training(run: TrainingRun) -> Iterator[Problem]:
    for kind in ("failed", "wrong", "unsupported"):
        if run.status == kind:
            reason = run.metrics.reason or "no reason was recorded"
            name = f"training of the model in {run.mode}"
            yield Problem(kind, name, reason, run.metrics.remedy or "")


def _unresolved(judged: JudgedRecord) -> str:
    statistics = statistics_of(judged)
    if judged.withdrawn and judged.adjusted_p is not None:
        return (
            f"{judged.record.verdict} when looked at alone, but not among all cases of the run"
            f" (Holm's p = {judged.adjusted_p:.2g})"
        )
    if statistics.speed_up.low is None or statistics.speed_up.high is None:
        return "one run has no interval that holds in the next"
    low, high = 1 / (1 + statistics.margin), 1 + statistics.margin
    return (
        f"the interval {ratio_range(statistics.speed_up)} is not clear of what counts as no effect"
        f" ({ratio_digits(low)} to {ratio_digits(high)})"
    )


def _settle(judged: JudgedRecord) -> str:
    statistics = statistics_of(judged)
    if (statistics.noise_floor or 0.0) >= statistics.margin:
        return "measure on a quieter machine: measuring differs by as much from itself"
    return _more_time()


def _more_time() -> str:
    return "raise measurement.runs: those that are there are kept"


def _width(judged: JudgedRecord) -> str:
    half_width = statistics_of(judged).half_width
    if half_width is None:
        return "too few blocks for an interval"
    return f"half-width {percent(half_width)} after {statistics_of(judged).blocks:,} blocks"


def _first(*texts: str | None) -> str:
    return next(text for text in texts if text)
