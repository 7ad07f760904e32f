"""Which answers the runs so far leave open, and which further runs would say most about them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from torchmodes.planning.cases import Case
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.verdicts import JudgedRecord

JOB_S = 2.0
"""Of a job beyond its process: Snakemake starts a script, which looks at the machine's load."""
ROUND_S = 25.0
"""Of a round beyond its jobs: Snakemake plans, and a fork server imports PyTorch."""


@dataclass(frozen=True)
class Question:
    """A comparison that the runs so far leave open.

    `noisier` is that of the cases compared whose runs say least; `rival` what the pick of a group
    is compared with, None where the case is compared with eager; `half_width` that of the interval
    of the logarithm of their ratio, infinite where there is none yet.
    """

    noisier: JudgedRecord
    rival: JudgedRecord | None
    half_width: float


@dataclass(frozen=True)
class Addition:
    """A case and how many runs it is to have."""

    case: Case
    runs: int
    seconds: float

    @property
    def files(self) -> list[str]:
        """The files of all its runs."""
        return [self.case.run_record(number) for number in range(1, self.runs + 1)]


def open_questions(cases: Iterable[JudgedRecord]) -> list[Question]:
    """Return the open comparisons that an answer of the report turns on, the widest first.

    Those are, in each group, the pick against every mode that may be as fast, and where no mode
    was found faster than eager, the fastest that is not settled. A case that has no verdict for
    another reason than its interval is no question: no run answers that.
    """
    questions = []
    for group in group_cases(cases):
        recommendation = recommend(group)
        if recommendation.best is None:
            unresolved = group.with_verdict("unresolved")
            unsettled = [case for case in unresolved if case.no_verdict is None]
            questions += [Question(case, None, _half_width(case)) for case in unsettled[:1]]
        for one in recommendation.unranked:
            if one.rival.no_verdict is None:
                pair = (recommendation.best, one.rival)
                noisier = max((case for case in pair if case is not None), key=_half_width)
                high = one.estimate.high
                width = math.inf if high is None else high - one.estimate.centre
                questions.append(Question(noisier, one.rival, width))
    return sorted(questions, key=lambda question: -question.half_width)


def additions(
    questions: Sequence[Question], *, seconds: float, runs: int | None = None
) -> list[Addition]:
    """Return the runs to add in one round: half as many again as a case has, as time allows.

    The questions are in the order of their importance; with `runs`, each case is brought to that.
    """
    left, chosen = seconds - ROUND_S, dict[Case, Addition]()
    for question in questions:
        judged = question.noisier
        if judged.case in chosen:
            continue
        there, each_s = runs_of(judged), run_seconds(judged)
        wanted = runs if runs is not None else there + math.ceil(there / 2)
        affordable = min(wanted, there + int(left / each_s))
        if affordable > there:
            chosen[judged.case] = Addition(judged.case, affordable, each_s * (affordable - there))
            left -= chosen[judged.case].seconds
    return list(chosen.values())


def runs_of(judged: JudgedRecord) -> int:
    """Return how many runs a record is made of, those that do not count included."""
    return max(1, len(judged.record.runs))


def run_seconds(judged: JudgedRecord) -> float:
    """Return what another run of a case takes, by those that started warm."""
    later = [run.run.wall_s for run in judged.record.runs[1:]] or [judged.record.run.wall_s]
    return median(later) + JOB_S


def _half_width(judged: JudgedRecord) -> float:
    width = judged.statistics.half_width
    return math.inf if width is None else width
