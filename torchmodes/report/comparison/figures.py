"""The changes between two runs as a forest plot, and speed-ups over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from torchmodes.planning.cases import Case
from torchmodes.report import style
from torchmodes.report.comparison.changes import Comparison
from torchmodes.report.comparison.effects import case_effect
from torchmodes.report.comparison.runs import ComparedRun
from torchmodes.report.comparison.sentences import group
from torchmodes.report.figures.panels import (
    VALUE,
    Panel,
    bottom_legend,
    divide,
    label_rows,
    label_width,
    name_beside,
    stack,
)
from torchmodes.report.figures.ratios import (
    SMALL_TICKS,
    ratio_axis,
    ratio_bars,
    ratio_limits,
    ratio_mark,
    settled_handles,
    shade_rows,
    small_ratio_axis,
)
from torchmodes.report.style import INK, MARGIN, look
from torchmodes.results.records import Interval

_ROW = 0.24
_TREND = 0.52
_DATES = 6
"""Dates that fit beside each other below a trend."""
_FURTHEST = log(2)
"""Up to where a bound widens the scale of a trend."""


def draw_changes(comparison: Comparison) -> Figure | None:
    """Draw each case's change of speed-up with its interval; None where nothing was compared."""
    found = sorted(
        (change for change in comparison.changes if change.ratio is not None),
        key=lambda change: (change.case.baseline, not change.case.is_baseline, change.case),
    )
    if not found:
        return None
    groups = [list(members) for _, members in groupby(found, key=lambda c: c.case.baseline)]
    panels = [Panel(group(members[0].case), _ROW * len(members)) for members in groups]
    with style.figure_style():
        figure, axes = stack(panels, left=label_width(change.name for change in found), right=VALUE)
        limits = ratio_limits([change.ratio for change in found if change.ratio is not None])
        for ax, members in zip(axes, groups, strict=True):
            label_rows(ax, [change.name for change in members])
            ratio_axis(ax, limits)
            shade_rows(ax, [change.margin for change in members], MARGIN)
            ratios = [change.ratio for change in members if change.ratio is not None]
            ratio_bars(ax, ratios, [change.case.mode for change in members])
            for row, (change, ratio) in enumerate(zip(members, ratios, strict=True)):
                ratio_mark(ax, row, ratio, mode=change.case.mode, outcome=change.outcome)
            ax.axvline(1, color=INK, linewidth=0.9, zorder=1.5)
            ax.set_xlabel("speed-up here / speed-up there (95 % interval)")
        shade = Patch(facecolor=MARGIN, label="counts as no change: both noise floors")
        bottom_legend(figure, [*settled_handles(), shade], columns=2)
    return figure


def draw_history(runs: Sequence[ComparedRun]) -> Figure | None:
    """Draw the speed-up of each case in every run, by time; None where no case stands in two."""
    series = _series(runs)
    if not series:
        return None
    groups = [
        (group(baseline), dict(members))
        for baseline, members in groupby(series.items(), key=lambda item: item[0].baseline)
    ]
    panels = [Panel(title, _TREND * len(cases)) for title, cases in groups]
    left = SMALL_TICKS + label_width(case.mode_named for case in series)
    with style.figure_style():
        figure, axes = stack(panels, left=left, right=0.55, axis=0.66)
        for ax, (_, cases) in zip(axes, groups, strict=True):
            rows = divide(ax, len(cases))
            span = max(map(_span, cases.values()))
            for row, (case, points) in zip(rows, cases.items(), strict=True):
                _trend(row, case, points, span=span)
            rows[-1].set_xlim(-0.5, len(runs) - 0.5)
            rows[-1].set_xticks(range(len(runs)), _dates(runs))
            rows[-1].set_xlabel("when it finished, UTC; left: times as fast as eager")
    return figure


def _series(runs: Sequence[ComparedRun]) -> dict[Case, dict[int, Interval]]:
    """Return each case's speed-up by the number of its run, of cases that stand in two or more."""
    found: dict[Case, dict[int, Interval]] = {}
    for index, run in enumerate(runs):
        for case, record in run.records.items():
            measured = None if case.is_baseline else case_effect(record)
            if measured is not None and not measured.says_nothing:
                found.setdefault(case, {})[index] = measured.ratio
    several = {case: points for case, points in found.items() if len(points) > 1}
    return dict(sorted(several.items(), key=lambda item: (item[0].baseline, item[0])))


def _dates(runs: Sequence[ComparedRun]) -> list[str]:
    """Return when each run finished, as many of them as fit beside each other."""
    every = -(-len(runs) // _DATES)
    told = [run.finished_at[:16].replace("T", "\n") for run in runs]
    return [date if index % every == 0 else "" for index, date in enumerate(told)]


def _middle(points: dict[int, Interval]) -> float:
    return fmean(log(interval.estimate) for interval in points.values())


def _span(points: dict[int, Interval]) -> float:
    """Return how far estimates and bounds are from their middle, a logarithm; bounds to a limit."""
    middle = _middle(points)
    estimates = [abs(log(i.estimate) - middle) for i in points.values()]
    bounds = [abs(log(b) - middle) for i in points.values() for b in (i.low, i.high) if b]
    return max(*estimates, *(min(bound, _FURTHEST) for bound in bounds))


def _trend(ax: Axes, case: Case, points: dict[int, Interval], *, span: float) -> None:
    seen = look(case.mode)
    small_ratio_axis(ax, _middle(points), span=span)
    name_beside(ax, case.mode_named)
    low, high = ax.get_ylim()
    at, ratios = list(points), list(points.values())
    lows, highs = [r.low or low for r in ratios], [r.high or high for r in ratios]
    ax.vlines(at, lows, highs, colors=seen.colour, linewidth=3, alpha=0.4)
    ax.plot(at, [ratio.estimate for ratio in ratios], **seen.curve)
    ax.axhline(1, color=INK, linewidth=0.9)
    ax.grid(axis="y")
