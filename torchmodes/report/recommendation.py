"""What to ship: the decision per group of cases, made of verdicts alone.

A group is what shares a baseline: machine, task, device, model and batch size. Modes of a group are
ranked by their speed-up over the baseline measured beside them, never by bare latencies: the
machine's own speed moves more between two cases than most modes differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from torchmodes.report.verdicts import Deployment, JudgedRecord
from torchmodes.results.records import Interval, Statistics, Verdict

Answer = Literal["faster", "eager", "unresolved", "alone", "nothing"]
"""A mode is faster; none can be; one may still be; only eager ran; none ran."""
RuledOut = Literal["no gain", "beaten"]
"""It is faster by no more than what does not count; it is slower than what is advised."""


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
        return tuple(sorted((c for c in self.cases if c.competes), key=speed_up, reverse=True))

    def with_verdict(self, verdict: Verdict) -> tuple[JudgedRecord, ...]:
        """Return the competitors with a verdict, the fastest first."""
        return tuple(c for c in self.competitors if c.verdict == verdict)

    @property
    def noise_floor(self) -> float | None:
        """The floor that the group's cases were judged against, relative; else its A/A case's."""
        floors = [f for c in self.cases if (f := _floor(c)) is not None]
        return max(floors, default=_floor_shown(self.baseline))

    @property
    def margin(self) -> float | None:
        """The effect that a claim in this group had to exceed, relative."""
        return max((statistics_of(c).margin for c in self.competitors), default=None)


@dataclass(frozen=True)
class ModeRecommendation:
    """What to ship in one group.

    Attributes
    ----------
    best, runner_up
        The fastest case that is faster than eager, and the second; None where there is none.
    best_fp32
        The fastest in the baseline's own precision, where `best` has another one.
    open_cases
        Unresolved cases that can still change the answer.
    """

    group: Group
    answer: Answer
    best: JudgedRecord | None
    runner_up: JudgedRecord | None
    best_fp32: JudgedRecord | None
    open_cases: tuple[JudgedRecord, ...]

    @property
    def shipped(self) -> JudgedRecord | None:
        """The case to ship: the best, or eager's own."""
        return self.best or self.group.baseline


@dataclass(frozen=True)
class BestCase:
    """The best case of a deployment by one measure, across modes and batch sizes."""

    aim: Literal["latency", "throughput", "start", "memory"]
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
        open_cases=_open_cases(group, best),
    )


def best_cases(recommendations: Sequence[ModeRecommendation]) -> list[BestCase]:
    """Return the best cases of one deployment by latency, throughput, start and memory.

    Latency and throughput are looked for among what is recommended at each batch size; start and
    memory among everything that was measured and does something. No time is picked that was taken
    beside other programs.
    """
    shipped = [
        s
        for recommendation in recommendations
        if (s := recommendation.shipped) is not None and s.no_verdict is None
    ]
    measured = [
        c for recommendation in recommendations if (c := recommendation.group.baseline) is not None
    ]
    measured += [c for recommendation in recommendations for c in recommendation.group.competitors]
    found = [
        _best_case("latency", shipped, lambda c: statistics_of(c).candidate.median_s),
        _best_case("throughput", shipped, lambda c: -statistics_of(c).throughput_per_s),
        _best_case("start", [c for c in measured if c.no_verdict is None], lambda c: c.cold_s),
        _best_case("memory", measured, lambda c: c.memory_bytes),
    ]
    return [best_case for best_case in found if best_case is not None]


def speed_up(judged: JudgedRecord) -> float:
    """Return the estimated speed-up of a measured case."""
    return statistics_of(judged).speed_up.estimate


def statistics_of(judged: JudgedRecord) -> Statistics:
    """Return the statistics of a measured case."""
    assert judged.record.statistics is not None
    return judged.record.statistics


def ruled_out(judged: JudgedRecord, best: JudgedRecord | None) -> RuledOut | None:
    """Tell why an unresolved case cannot change the answer, or None where it can.

    Parameters
    ----------
    judged
        The case.
    best
        What is advised in its group; None: eager.
    """
    statistics = statistics_of(judged)
    high = statistics.speed_up.high
    if high is None or judged.no_verdict is not None:
        return None
    if high <= 1 + statistics.margin:
        return "no gain"
    if best is not None and _above(statistics_of(best).speed_up, statistics.speed_up):
        return "beaten"
    return None


def distinguishable(one: JudgedRecord, other: JudgedRecord) -> bool:
    """Tell whether the intervals of two speed-ups lie apart."""
    first, second = statistics_of(one).speed_up, statistics_of(other).speed_up
    return _above(first, second) or _above(second, first)


def _above(one: Interval, other: Interval) -> bool:
    return one.low is not None and other.high is not None and one.low > other.high


def _answer(group: Group, best: JudgedRecord | None) -> Answer:
    if best is not None:
        return "faster"
    if _open_cases(group, best):
        return "unresolved"
    if group.competitors:
        return "eager"
    return "alone" if group.baseline else "nothing"


def _open_cases(group: Group, best: JudgedRecord | None) -> tuple[JudgedRecord, ...]:
    """Return the unresolved cases that can still be what to ship."""
    return tuple(c for c in group.with_verdict("unresolved") if ruled_out(c, best) is None)


def _floor(judged: JudgedRecord) -> float | None:
    statistics = judged.record.statistics
    return None if statistics is None else statistics.noise_floor


def _floor_shown(baseline: JudgedRecord | None) -> float | None:
    """Return the largest relative effect that an A/A case leaves possible."""
    if baseline is None:
        return None
    interval = statistics_of(baseline).speed_up
    if interval.says_nothing or not interval.low or not interval.high:
        return None
    return max(interval.high, 1 / interval.low) - 1


def _best_case(
    aim: Literal["latency", "throughput", "start", "memory"],
    cases: Sequence[JudgedRecord],
    cost: Callable[[JudgedRecord], float | None],
) -> BestCase | None:
    """Return the case with the smallest cost, the first of equals, if any case has one."""
    costs = [(value, case) for case in cases if (value := cost(case)) is not None]
    if not costs:
        return None
    value, case = min(costs, key=lambda pair: pair[0])
    return BestCase(aim, case, abs(value))
