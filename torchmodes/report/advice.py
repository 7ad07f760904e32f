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

from torchmodes.report.judging import Judged, Subject
from torchmodes.results.records import Statistics, Verdict

Answer = Literal["faster", "eager", "unresolved", "alone", "nothing"]
"""A mode is faster; none is, and that is certain; none is shown to be; only eager ran; none ran."""


@dataclass(frozen=True)
class Group:
    """The cases that share a baseline."""

    subject: Subject
    batch_size: int
    cases: tuple[Judged, ...]

    @property
    def baseline(self) -> Judged | None:
        """The A/A case, where it was measured."""
        return next((c for c in self.cases if c.case.is_baseline and c.measured), None)

    @property
    def competitors(self) -> tuple[Judged, ...]:
        """Every case that competes, the fastest first."""
        return tuple(sorted((c for c in self.cases if c.competes), key=speed_up, reverse=True))

    def with_verdict(self, verdict: Verdict) -> tuple[Judged, ...]:
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
class Advice:
    """What to ship in one group.

    Attributes
    ----------
    best, runner_up
        The fastest case that is faster than eager, and the second; None where there is none.
    best_fp32
        The fastest in the baseline's own precision, where `best` has another one.
    open_cases
        Unresolved cases that may still be faster than what is advised.
    """

    group: Group
    answer: Answer
    best: Judged | None
    runner_up: Judged | None
    best_fp32: Judged | None
    open_cases: tuple[Judged, ...]

    @property
    def shipped(self) -> Judged | None:
        """The case to ship: the best, or eager's own."""
        return self.best or self.group.baseline


@dataclass(frozen=True)
class Pick:
    """The best case of a subject by one measure, across modes and batch sizes."""

    aim: Literal["latency", "throughput", "start", "memory"]
    case: Judged
    value: float


def group_cases(cases: Iterable[Judged]) -> list[Group]:
    """Part judged cases into groups, in order."""

    def key(judged: Judged) -> tuple[Subject, int]:
        return judged.subject, judged.case.batch_size

    ordered = sorted(cases, key=lambda judged: (*key(judged), judged.case))
    return [
        Group(subject, batch_size, tuple(members))
        for (subject, batch_size), members in groupby(ordered, key=key)
    ]


def advise(group: Group) -> Advice:
    """Decide what to ship in a group."""
    faster = group.with_verdict("faster")
    best = faster[0] if faster else None
    fp32 = next((c for c in faster if c.case.precision == "fp32"), None)
    return Advice(
        group=group,
        answer=_answer(group),
        best=best,
        runner_up=faster[1] if len(faster) > 1 else None,
        best_fp32=fp32 if fp32 is not best else None,
        open_cases=_open_cases(group, best),
    )


def picks(advices: Sequence[Advice]) -> list[Pick]:
    """Return the best cases of one subject by latency, throughput, start and memory.

    Latency and throughput are looked for among what the advice ships at each batch size; start and
    memory among everything that was measured and does something. No time is picked that was taken
    beside other programs.
    """
    shipped = [
        s for advice in advices if (s := advice.shipped) is not None and s.no_verdict is None
    ]
    measured = [c for advice in advices if (c := advice.group.baseline) is not None]
    measured += [c for advice in advices for c in advice.group.competitors]
    found = [
        _pick("latency", shipped, lambda c: statistics_of(c).candidate.median_s),
        _pick("throughput", shipped, lambda c: -statistics_of(c).throughput_per_s),
        _pick("start", [c for c in measured if c.no_verdict is None], lambda c: c.cold_s),
        _pick("memory", measured, lambda c: c.memory_bytes),
    ]
    return [pick for pick in found if pick is not None]


def speed_up(judged: Judged) -> float:
    """Return the estimated speed-up of a measured case."""
    return statistics_of(judged).speed_up.estimate


def statistics_of(judged: Judged) -> Statistics:
    """Return the statistics of a measured case."""
    assert judged.record.statistics is not None
    return judged.record.statistics


def distinguishable(one: Judged, other: Judged) -> bool:
    """Tell whether the intervals of two speed-ups lie apart."""
    first, second = statistics_of(one).speed_up, statistics_of(other).speed_up
    if None in (first.low, first.high, second.low, second.high):
        return False
    assert first.low is not None
    assert second.low is not None
    assert first.high is not None
    assert second.high is not None
    return first.low > second.high or second.low > first.high


def _answer(group: Group) -> Answer:
    if group.with_verdict("faster"):
        return "faster"
    if group.with_verdict("unresolved"):
        return "unresolved"
    if group.competitors:
        return "eager"
    return "alone" if group.baseline else "nothing"


def _open_cases(group: Group, best: Judged | None) -> tuple[Judged, ...]:
    """Return the unresolved cases whose interval reaches beyond what is advised."""
    reach = 1.0 if best is None else statistics_of(best).speed_up.low or 0.0
    return tuple(
        c
        for c in group.with_verdict("unresolved")
        if (high := statistics_of(c).speed_up.high) is None or high > reach
    )


def _floor(judged: Judged) -> float | None:
    statistics = judged.record.statistics
    return None if statistics is None else statistics.noise_floor


def _floor_shown(baseline: Judged | None) -> float | None:
    """Return the largest relative effect that an A/A case leaves possible."""
    if baseline is None:
        return None
    interval = statistics_of(baseline).speed_up
    if interval.says_nothing or not interval.low or not interval.high:
        return None
    return max(interval.high, 1 / interval.low) - 1


def _pick(
    aim: Literal["latency", "throughput", "start", "memory"],
    cases: Sequence[Judged],
    cost: Callable[[Judged], float | None],
) -> Pick | None:
    """Return the case with the smallest cost, the first of equals, if any case has one."""
    costs = [(value, case) for case in cases if (value := cost(case)) is not None]
    if not costs:
        return None
    value, case = min(costs, key=lambda pair: pair[0])
    return Pick(aim, case, abs(value))
