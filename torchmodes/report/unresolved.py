"""What an unresolved comparison leaves open: can it change the answer, and what would settle it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from torchmodes.measure.statistics import Estimate, p_value, survivor, verdict
from torchmodes.report.data import ReportData
from torchmodes.report.formatting import NOTHING, effect, percent, plural
from torchmodes.report.recommendation import (
    NOISY,
    ModeRecommendation,
    estimate_of,
    group_cases,
    recommend,
    ruled_out,
)
from torchmodes.report.verdicts import JudgedRecord

MOST_RUNS = 200
"""More than that are not asked for: the effect is too close to the line to be told from it."""
NOTHING_YET = 1.0
"""Half of an interval, relative, beyond which no number of runs is promised to settle it."""
_FEWEST_RUNS = 3
"""Runs that a case of one process needs before anything can be said of the next."""
_MINUTE = 60.0
_QUIET = "measure again on a machine that does nothing else"


@dataclass(frozen=True)
class MoreRuns:
    """What would settle a comparison: how many more runs, their time, how narrow it is then.

    Attributes
    ----------
    half_width
        Of the interval then, relative; None where the spread between runs is not known yet.
    """

    count: int
    seconds: float
    half_width: float | None


@dataclass(frozen=True)
class Unresolved:
    """One comparison that is not settled, as the page tells it.

    Attributes
    ----------
    meaning
        What can be said of it all the same, or what would settle it.
    command
        That settles it; None where nothing has to be.
    """

    case: JudgedRecord
    meaning: str
    command: str | None


def unresolved(data: ReportData) -> list[Unresolved]:
    """Return every unresolved comparison, those that can change an answer first."""
    comparisons = sum(judged.competes for judged in data.cases)
    found = [
        Unresolved(judged, *_told(judged, recommendation, comparisons))
        for recommendation in map(recommend, group_cases(data.cases))
        for judged in recommendation.group.cases
        if _is_open(judged)
    ]
    return sorted(found, key=lambda one: (one.command is None, one.case.case))


def headline(found: Sequence[Unresolved]) -> str | None:
    """Say how many comparisons are unresolved, and how many of them matter."""
    if not found:
        return None
    matter = sum(one.command is not None for one in found)
    can = f"{matter:,} can still change an answer" if matter else "none can change an answer"
    return f"{plural(len(found), 'comparison')} unresolved; {can}."


def more_runs(
    judged: JudgedRecord, best: JudgedRecord | None, *, comparisons: int
) -> MoreRuns | None:
    """Return how many more runs would settle a case if its estimate is right.

    The error of the estimate shrinks with the root of the number of runs, and Student's t knows
    one degree of freedom more with each. Settled is what has a verdict among all comparisons
    (Bonferroni's bound of Holm's procedure), or cannot be what to ship. `best` is what is advised
    in the group (None: eager), `comparisons` counts the cases of the whole run with a baseline.
    """
    now, each = judged.statistics, _seconds_of_a_run(judged)
    if now.standard_error is None or now.degrees_of_freedom is None:
        count = max(1, _FEWEST_RUNS - now.runs)
        return MoreRuns(count, count * each, None)
    beyond = math.log1p(now.margin)
    for count in range(1, MOST_RUNS + 1):
        then = Estimate(
            estimate_of(now).centre,
            now.standard_error * math.sqrt(now.runs / (now.runs + count)),
            now.degrees_of_freedom + count,
        )
        assert then.high is not None
        p = min(1.0, comparisons * p_value(then, beyond=beyond))
        settled = survivor(verdict(then, beyond=beyond), adjusted_p=p) != "unresolved"
        beaten = best is not None and (estimate_of(best.statistics).against(then).low or 0.0) > 0
        if settled or beaten or then.high <= beyond:
            return MoreRuns(count, count * each, math.expm1(then.high - then.centre))
    return None


def _is_open(judged: JudgedRecord) -> bool:
    """Tell whether a case is unresolved; a noise check is, where nothing is concluded from it."""
    if judged.case.is_baseline:
        return judged.measured and judged.no_verdict is not None
    return judged.competes and judged.verdict == "unresolved"


def _seconds_of_a_run(judged: JudgedRecord) -> float:
    """Return how long one more run takes: as those that started from a filled compile cache."""
    later = [run.run.wall_s + run.run.start_s for run in judged.record.runs[1:]]
    return mean(later) if later else judged.record.run.wall_s + judged.record.run.start_s


def _told(
    judged: JudgedRecord, recommendation: ModeRecommendation, comparisons: int
) -> tuple[str, str | None]:
    """Return the meaning and the command of an unresolved comparison."""
    best = recommendation.best
    high = judged.speed_up.high
    match ruled_out(judged, best):
        case "no gain":
            assert high is not None
            most = f"at most {effect(high)}" if high > 1 else f"{effect(high)} at best"
            return f"no gain: {most}", None
        case "beaten":
            assert best is not None
            assert high is not None
            return f"at best {effect(high)}: cannot beat {best.name}", None
    if judged.no_verdict is not None:
        return judged.no_verdict, judged.no_verdict_remedy
    if (margin := judged.statistics.margin) > NOISY:
        return f"eager against itself is up to {percent(margin)} off: nothing can be told", _QUIET
    needed = more_runs(judged, best, comparisons=comparisons)
    now = judged.statistics.half_width
    reach = NOTHING if now is None else f"±{percent(now)}"
    if now is not None and now > NOTHING_YET:
        return f"{reach}: its runs are too far apart to say anything yet", _QUIET
    if needed is None:
        meaning = f"{reach}, and too close to the line: {MOST_RUNS:,} more runs would not tell"
        return meaning, "choose by start, memory or habit"
    minutes = max(1, math.ceil(needed.seconds / _MINUTE))
    then = needed.half_width
    change = "one run has no interval" if then is None else f"{reach} → ±{percent(then)}"
    about = f"about {plural(needed.count, 'more run')}, {plural(minutes, 'minute')}"
    alone = (
        f"{judged.record.verdict} by itself, but not among {comparisons:,} comparisons; "
        if judged.withdrawn
        else ""
    )
    return f"{alone}{change}: {about}", f"make sharpen MINUTES={minutes} CASE={judged.case}"
