"""How each case changed from one run to another, and whether that can be told from noise.

Each run holds, for each case, a speed-up over eager measured call by call beside it. The ratio of
two such speed-ups is free of the machine's speed, as far as that slows eager and the mode alike:
verdicts are made of it. A change that eager shares is told of each group (`EagerChange`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np

from torchmodes.measure.statistics import (
    Verdict,
    holm,
    margin,
    p_value,
    survivor,
    verdict,
)
from torchmodes.planning.cases import Case
from torchmodes.report.comparison.effects import (
    effect_between,
    floor_of_two,
    is_measured,
    is_same_measurement,
    mean,
    seconds,
)
from torchmodes.report.comparison.runs import ComparedRun, Difference, differences
from torchmodes.report.environments import mapping
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Interval, Record

Outcome = Literal["faster", "slower", "same", "unresolved", "lost", "gained", "neither"]
"""A verdict; or: measured only there (lost), only here (gained), in neither run."""
OUTCOMES: tuple[Outcome, ...] = (
    *("lost", "slower", "faster", "gained", "unresolved", "same", "neither"),
)
"""In the order in which a reader wants to know."""
MINIMUM_EFFECT = 0.01
"""Where no record says what its run called too small to matter: 1 %."""


@dataclass(frozen=True)
class Change:
    """One case in two runs.

    Attributes
    ----------
    outcome
        What stands after Holm's correction over all cases compared.
    ratio
        Speed-up here / speed-up there with its 95 % interval: above 1 the mode gained on eager.
        None, as all that follows, where a side has no samples.
    margin
        The relative effect that the interval has to clear.
    p
        Holm's p-value; None where nothing could be judged.
    base_s, this_s, base_eager_s, this_eager_s
        Median seconds per call, and of eager beside it; their ratio includes the machine's change.
    parameters
        What of the configuration differs, by dotted name: then it is not quite the same case.
    same_measurement
        Whether both records tell of one run of one process, such as a run against itself.
    """

    case: Case
    base: Record
    this: Record
    outcome: Outcome
    ratio: Interval | None = None
    margin: float | None = None
    p: float | None = None
    base_s: float | None = None
    this_s: float | None = None
    base_eager_s: float | None = None
    this_eager_s: float | None = None
    parameters: tuple[str, ...] = ()
    same_measurement: bool = False

    @property
    def name(self) -> str:
        """Mode and precision."""
        return self.case.mode_named

    @property
    def took(self) -> float | None:
        """How many times as long a call takes here, the machine's change included."""
        return None if not self.base_s or self.this_s is None else self.this_s / self.base_s

    @property
    def eager_took(self) -> float | None:
        """The same of eager beside it."""
        if not self.base_eager_s or self.this_eager_s is None:
            return None
        return self.this_eager_s / self.base_eager_s


@dataclass(frozen=True)
class EagerChange:
    """Eager itself in two runs: a group's baseline.

    Attributes
    ----------
    speed
        Eager's speed here / there with its 95 % interval from the spread between cases; open where
        a run has one case. It includes the machine's change of speed.
    cases
        How many cases of the group measured eager in both runs.
    """

    case: Case
    speed: Interval
    verdict: Verdict
    cases: int


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared."""

    base: ComparedRun
    this: ComparedRun
    changes: tuple[Change, ...]
    eager: tuple[EagerChange, ...]
    differences: tuple[Difference, ...]
    only_base: tuple[Case, ...]
    only_this: tuple[Case, ...]

    @property
    def same_machine(self) -> bool:
        """Whether all records come from one machine."""
        return len({*self.base.machines, *self.this.machines}) == 1

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The records of either run that cannot be read, whose cases are not compared."""
        return (*self.base.unreadable, *self.this.unreadable)

    def with_outcome(self, *outcomes: Outcome) -> tuple[Change, ...]:
        """Return the cases that came out so."""
        return tuple(change for change in self.changes if change.outcome in outcomes)


def compare(
    base: ComparedRun, this: ComparedRun, *, minimum_effect: float | None = None
) -> Comparison:
    """Compare the cases that two runs have in common: a base, and the run in question.

    By default a change is too small to matter below the larger of what the two records of a case
    were measured with.

    Raises
    ------
    ValueError
        When the runs have no case in common.
    """
    common = sorted(base.records.keys() & this.records.keys())
    if not common:
        raise ValueError(f"{base.name} and {this.name} have no case in common")
    changes = _among_many(
        _change(case, base.records[case], this.records[case], minimum_effect=minimum_effect)
        for case in common
    )
    return Comparison(
        base=base,
        this=this,
        changes=tuple(changes),
        eager=tuple(_eager_changes(changes, minimum_effect=minimum_effect)),
        differences=tuple(differences(base, this)),
        only_base=_only_in(base, this),
        only_this=_only_in(this, base),
    )


def _only_in(run: ComparedRun, other: ComparedRun) -> tuple[Case, ...]:
    """Return the cases of a run that the other does not have, as far as it can be read."""
    return tuple(sorted(run.records.keys() - other.records.keys() - other.unreadable_cases))


def _change(case: Case, there: Record, here: Record, *, minimum_effect: float | None) -> Change:
    parameters = tuple(_altered(there.parameters, here.parameters))
    changed = effect_between(there, here)
    if changed is None:
        was, is_now = is_measured(there), is_measured(here)
        missing: Outcome = "lost" if was else "gained" if is_now else "neither"
        return Change(case, there, here, missing, parameters=parameters)
    doubted = there.no_verdict is not None or here.no_verdict is not None
    beyond = _beyond(case, there, here, minimum_effect)
    (eager_there, mode_there), (eager_here, mode_here) = seconds(there), seconds(here)
    return Change(
        case=case,
        base=there,
        this=here,
        outcome="unresolved" if doubted else verdict(changed, beyond=beyond),
        ratio=changed.ratio,
        margin=math.expm1(beyond),
        p=None if doubted else p_value(changed, beyond=beyond),
        base_s=float(np.median(mode_there)),
        this_s=float(np.median(mode_here)),
        base_eager_s=float(np.median(eager_there)),
        this_eager_s=float(np.median(eager_here)),
        parameters=parameters,
        same_measurement=is_same_measurement(there, here),
    )


def _beyond(case: Case, there: Record, here: Record, minimum_effect: float | None) -> float:
    """Return the logarithm that an interval must clear.

    An A/A case is judged by the minimum effect alone, as within a run.
    """
    floor = None if case.is_baseline else floor_of_two(_floor(here), _floor(there))
    return margin(minimum_effect=_smallest([there, here], minimum_effect), floor=floor)


def _floor(record: Record) -> float | None:
    """Return the bias of measuring that a case was judged with, a logarithm."""
    told = None if record.statistics is None else record.statistics.noise_floor
    return None if told is None else math.log1p(told)


def _among_many(changes: Iterable[Change]) -> list[Change]:
    """Withdraw the claims that do not stand among all cases compared."""
    changes = list(changes)
    adjusted = iter(holm([change.p for change in changes if change.p is not None]))
    return [c if c.p is None else _standing(c, adjusted_p=next(adjusted)) for c in changes]


def _standing(change: Change, *, adjusted_p: float) -> Change:
    if change.outcome not in ("faster", "slower"):
        return replace(change, p=adjusted_p)
    return replace(change, outcome=survivor(change.outcome, adjusted_p=adjusted_p), p=adjusted_p)


def _eager_changes(
    changes: Iterable[Change], *, minimum_effect: float | None
) -> Iterator[EagerChange]:
    """Compare eager's own times of each group: one median from each case that measured it.

    Those taken beside other programs are left out.
    """
    measured = sorted(
        (
            change
            for change in changes
            if change.ratio is not None
            and change.base.no_verdict is None
            and change.this.no_verdict is None
        ),
        key=lambda change: (change.case.baseline, change.case),
    )
    for baseline, group in groupby(measured, key=lambda change: change.case.baseline):
        members = list(group)
        there = np.log([c.base_eager_s for c in members if c.base_eager_s])
        here = np.log([c.this_eager_s for c in members if c.this_eager_s])
        changed = mean(there).against(mean(here))
        smallest = _smallest([r for c in members for r in (c.base, c.this)], minimum_effect)
        yield EagerChange(
            case=baseline,
            speed=changed.ratio,
            verdict=verdict(changed, beyond=margin(minimum_effect=smallest)),
            cases=len(members),
        )


def _smallest(records: Iterable[Record], given: float | None) -> float:
    """Return the smallest effect that matters: as given, or the largest that a record names."""
    return max(map(_minimum_effect, records)) if given is None else given


def _minimum_effect(record: Record) -> float:
    value = mapping(record.parameters.get("measurement")).get("minimum_effect")
    return value if isinstance(value, int | float) and 0 <= value < 1 else MINIMUM_EFFECT


def _altered(base: Mapping, this: Mapping, path: str = "") -> Iterator[str]:
    """Yield the dotted names of the parameters that differ."""
    for key in dict.fromkeys([*base, *this]):
        there, here = base.get(key), this.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            yield from _altered(there, here, f"{path}{key}.")
        elif there != here:
            yield f"{path}{key}"
