"""What to ship: the decision per group of cases, made of verdicts alone.

A group is what shares a baseline: machine, task, device, model and batch size. Modes of a group are
ranked by their speed-up over the baseline measured beside them, never by bare latencies: the
machine's own speed moves more between two cases than most modes differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Literal

from torchmodes.measure import statistics
from torchmodes.measure.statistics import Estimate
from torchmodes.report.verdicts import Deployment, JudgedRecord
from torchmodes.results.records import Statistics, Verdict

Answer = Literal["faster", "eager", "unresolved", "alone", "nothing"]
"""A mode is faster; none can be; one may still be; only eager ran; none ran."""
RuledOut = Literal["no gain", "beaten"]
"""It is faster by no more than what does not count; it is slower than what is advised."""
Aim = Literal["latency", "throughput", "start", "memory"]
NOISY = 0.1
"""A margin above it says how far eager is from itself, not what does not matter."""


@dataclass(frozen=True)
class Group:
    """The cases that share a baseline."""

    deployment: Deployment
    batch_size: int
    cases: tuple[JudgedRecord, ...]

    @property
    def baseline(self) -> JudgedRecord | None:
        """The A/A case, where it was measured."""
        return next((c for c in self.cases if c.case.is_baseline and c.measured), None)

    @property
    def competitors(self) -> tuple[JudgedRecord, ...]:
        """Every case that competes, the fastest first."""
        competing = (c for c in self.cases if c.competes)
        return tuple(sorted(competing, key=attrgetter("speed_up.estimate"), reverse=True))

    def with_verdict(self, verdict: Verdict) -> tuple[JudgedRecord, ...]:
        """Return the competitors with a verdict, the fastest first."""
        return tuple(c for c in self.competitors if c.verdict == verdict)

    @property
    def noise_floor(self) -> float | None:
        """The floor that the group's cases were judged against, relative; else its A/A case's."""
        judged = [c.record.statistics for c in self.cases if c.record.statistics is not None]
        floors = [one.noise_floor for one in judged if one.noise_floor is not None]
        return max(floors, default=_floor_shown(self.baseline))

    @property
    def margin(self) -> float | None:
        """The effect that a claim in this group had to exceed, relative."""
        return max((c.statistics.margin for c in self.competitors), default=None)


@dataclass(frozen=True)
class HeadToHead:
    """The pick of a group against another of its modes.

    Attributes
    ----------
    estimate
        Of the pick's speed-up over eager by the other's; without an error where one of them ran in
        one process.
    verdict
        Of the pick; ``unresolved``: the run does not rank the two.
    """

    rival: JudgedRecord
    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class ModeRecommendation:
    """What to ship in one group.

    Attributes
    ----------
    best, runner_up
        The fastest case that is faster than eager, and the second; None where there is none.
    best_fp32
        The fastest in the baseline's own precision, where `best` has another one.
    rivals
        `best` against every other competitor, the fastest first. It is the fastest where it beats
        them all.
    """

    group: Group
    answer: Answer
    best: JudgedRecord | None
    runner_up: JudgedRecord | None
    best_fp32: JudgedRecord | None
    rivals: tuple[HeadToHead, ...]

    @property
    def unranked(self) -> tuple[HeadToHead, ...]:
        """The rivals that may be as fast as the pick, or faster."""
        return tuple(one for one in self.rivals if one.verdict == "unresolved")

    @property
    def most_gained(self) -> float | None:
        """The speed-up that no mode exceeds, where none is picked: the highest of all intervals.

        None where some mode's interval is not known, or says nothing.
        """
        told = [c.speed_up for c in self.group.competitors]
        highs = [one.high for one in told if one.high is not None and not one.says_nothing]
        if self.best is not None or not highs or len(highs) < len(told):
            return None
        if any(c.no_verdict for c in self.group.competitors):
            return None
        return max(highs)

    @property
    def shipped(self) -> JudgedRecord | None:
        """The case to ship: the best, or eager's own."""
        return self.best or self.group.baseline


@dataclass(frozen=True)
class BestCase:
    """The best case of a deployment by one measure, across modes and batch sizes."""

    aim: Aim
    case: JudgedRecord
    value: float


def group_cases(cases: Iterable[JudgedRecord]) -> list[Group]:
    """Part judged cases into groups, in order."""

    def key(judged: JudgedRecord) -> tuple[Deployment, int]:
        return judged.deployment, judged.case.batch_size

    ordered = sorted(cases, key=lambda judged: (*key(judged), judged.case))
    return [
        Group(deployment, batch_size, tuple(members))
        for (deployment, batch_size), members in groupby(ordered, key=key)
    ]


def recommend(group: Group) -> ModeRecommendation:
    """Decide what to ship in a group."""
    faster = group.with_verdict("faster")
    best = faster[0] if faster else None
    fp32 = next((c for c in faster if c.case.precision == "fp32"), None)
    return ModeRecommendation(
        group=group,
        answer=_answer(group, best),
        best=best,
        runner_up=faster[1] if len(faster) > 1 else None,
        best_fp32=fp32 if fp32 is not best else None,
        rivals=()
        if best is None
        else tuple(head_to_head(best, c) for c in group.competitors if c is not best),
    )


def best_cases(recommendations: Sequence[ModeRecommendation]) -> list[BestCase]:
    """Return the best cases of one deployment by latency, throughput, start and memory.

    Latency and throughput are looked for among what is recommended at each batch size; start and
    memory among everything that was measured and does something. No time is picked that was taken
    beside other programs.
    """
    picks = (recommendation.shipped for recommendation in recommendations)
    shipped = [c for c in picks if c is not None and c.no_verdict is None]
    groups = [recommendation.group for recommendation in recommendations]
    measured = [c for group in groups if (c := group.baseline) is not None]
    measured += [c for group in groups for c in group.competitors]
    found = [
        _best_case("latency", shipped, lambda c: c.statistics.candidate.median_s),
        _best_case("throughput", shipped, lambda c: -c.statistics.throughput_per_s),
        _best_case("start", [c for c in measured if c.no_verdict is None], lambda c: c.cold_s),
        _best_case("memory", measured, lambda c: c.memory_bytes),
    ]
    return [best_case for best_case in found if best_case is not None]


def ruled_out(judged: JudgedRecord, best: JudgedRecord | None) -> RuledOut | None:
    """Tell why an unresolved case cannot change the answer, or None where it can.

    `best` is what is advised in its group; None: eager.
    """
    found = judged.statistics
    high = found.speed_up.high
    if high is None or judged.no_verdict is not None:
        return None
    if found.margin <= NOISY and high <= 1 + found.margin:
        return "no gain"
    if best is not None and head_to_head(best, judged).verdict == "faster":
        return "beaten"
    return None


def head_to_head(pick: JudgedRecord, rival: JudgedRecord) -> HeadToHead:
    """Compare the pick of a group with another of its modes, by their speed-ups over eager.

    What the harness does to a candidate's side is alike in both and cancels out, so that any
    difference counts. The pick was found to be the fastest in the same data: that it beats each
    other mode at 5 % is then still wrong in 5 % at the most (Gutmann and Maymin 1987).
    """
    estimate = estimate_of(pick.statistics).against(estimate_of(rival.statistics))
    looks = max(pick.statistics.looks, rival.statistics.looks)
    p_value = statistics.spent(statistics.p_value(estimate, beyond=0.0), looks=looks)
    found = statistics.verdict(estimate, beyond=math.log1p(pick.statistics.margin))
    verdict: Verdict = "same" if found == "same" else "unresolved"
    if estimate.centre > 0 and p_value <= 1 - statistics.CONFIDENCE:
        verdict = "faster"
    return HeadToHead(rival, estimate, verdict)


def estimate_of(found: Statistics) -> Estimate:
    """Return a case's speed-up with its error, as a logarithm."""
    centre = math.log(found.speed_up.estimate)
    return Estimate(centre, found.standard_error, found.degrees_of_freedom)


def _answer(group: Group, best: JudgedRecord | None) -> Answer:
    if best is not None:
        return "faster"
    if any(ruled_out(c, best) is None for c in group.with_verdict("unresolved")):
        return "unresolved"
    if group.competitors:
        return "eager"
    return "alone" if group.baseline else "nothing"


def _floor_shown(baseline: JudgedRecord | None) -> float | None:
    """Return the largest relative effect that an A/A case leaves possible."""
    if baseline is None:
        return None
    interval = baseline.speed_up
    if interval.says_nothing or not interval.low or not interval.high:
        return None
    return max(interval.high, 1 / interval.low) - 1


def _best_case(
    aim: Aim,
    cases: Sequence[JudgedRecord],
    cost: Callable[[JudgedRecord], float | None],
) -> BestCase | None:
    """Return the case with the smallest cost, the first of equals, if any case has one."""
    costs = [(value, case) for case in cases if (value := cost(case)) is not None]
    if not costs:
        return None
    value, case = min(costs, key=lambda pair: pair[0])
    return BestCase(aim, case, abs(value))
