"""What was not measured: why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torchmodes.planning.cases import Case, case_at
from torchmodes.report import sentences
from torchmodes.report.data import ReportData, TrainingRun
from torchmodes.report.environments import Machine
from torchmodes.report.verdicts import JudgedRecord

Kind = Literal["unreadable", "failed", "wrong", "worse", "unsupported", "no effect"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANINGS: dict[Kind, str] = {
    "unreadable": "There is a file, but not one that can be read: this page stands without it.",
    "failed": "The case ended with an error.",
    "wrong": "It ran, but its output is outside tolerance, or its training diverged.",
    "worse": "It ran, and is worse than eager on your data by more than the margin: not picked.",
    "unsupported": "The mode cannot run this case, for a reason known before or told by PyTorch.",
    "no effect": "The mode did nothing, so it is not compared.",
}
_LESS_LOSS = "use another mode or precision, or allow more by the model's quality_margin"


@dataclass(frozen=True)
class Problem:
    """One reason why a figure is missing."""

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


def by_reason(found: Iterable[Problem]) -> list[list[Problem]]:
    """Return the problems that share kind, reason and remedy together: each is told once."""
    together: dict[tuple[str, ...], list[Problem]] = {}
    for problem in found:
        together.setdefault((problem.kind, problem.reason, problem.remedy), []).append(problem)
    return list(together.values())


def all_well(data: ReportData) -> str:
    """Say that there is no problem, in a run that has none."""
    return "Every case ran and came out right." if data.cases else "No case was benchmarked."


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
            record.reason or "",
            record.remedy or "",
            failure.traceback if failure else None,
            failure.log if failure else None,
        )
        return
    if record.no_effect is not None:
        yield Problem("no effect", name, record.no_effect, "choose another mode")
    elif record.is_worse:
        yield Problem("worse", name, sentences.quality(judged) or "", _LESS_LOSS)


def _of_training(run: TrainingRun) -> Iterator[Problem]:
    if run.metrics.status != "ok":
        reason = run.metrics.reason or "no reason was recorded"
        name = f"training of the model in {run.mode}"
        yield Problem(run.metrics.status, name, reason, run.metrics.remedy or "")
