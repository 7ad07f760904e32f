"""Which cases to profile, once all are measured: what is recommended, and eager beside it."""

from __future__ import annotations

from collections.abc import Iterable

from torchmodes.planning.cases import Case
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.chosen import ChosenProfiles


def choose_profiles(cases: Iterable[JudgedRecord], *, runner_up: bool) -> ChosenProfiles:
    """Choose eager and the pick of each group, and on demand the second fastest.

    A group in which nothing ran has nothing to profile.
    """
    chosen: set[Case] = set()
    compared: set[tuple[Case, Case]] = set()
    for group in group_cases(cases):
        recommended = recommend(group)
        found = [recommended.best, recommended.runner_up if runner_up else None]
        others = [one.case for one in found if one is not None]
        if recommended.shipped is not None:
            eager = recommended.shipped.case.baseline
            chosen |= {eager, *others}
            compared |= {(eager, other) for other in others}
    return ChosenProfiles(
        cases=tuple(str(case) for case in sorted(chosen)),
        diffs=tuple((str(a), str(b)) for a, b in sorted(compared)),
    )
