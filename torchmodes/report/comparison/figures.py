"""The changes between two runs as a forest plot, and speed-ups over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator

from torchmodes.measure.statistics import says_nothing
from torchmodes.planning.cases import Case
from torchmodes.report import style
from torchmodes.report.comparison.changes import Comparison
from torchmodes.report.comparison.effects import as_interval, case_effect
from torchmodes.report.comparison.runs import ComparedRun
from torchmodes.report.comparison.sentences import group
from torchmodes.report.figures.panels import (
    VALUE,
    Panel,
    bottom_legend,
    label_rows,
    label_width,
    mode_handle,
    stack,
)
from torchmodes.report.figures.ratios import (
    ratio_axis,
    ratio_bars,
    ratio_limits,
    ratio_mark,
    settled_handles,
    shade_rows,
)
from torchmodes.report.style import INK, MARGIN, SURFACE, look
from torchmodes.results.records import Interval

_ROW = 0.24
_HISTORY_HEIGHT = 1.7
_LEGEND_COLUMNS = 3


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
        figure, axes = stack(panels, left=label_width(found), right=VALUE)
        limits = ratio_limits([change.ratio for change in found if change.ratio is not None])
        for ax, members in zip(axes, groups, strict=True):
            label_rows(ax, members)
            ratio_axis(ax.xaxis, limits)
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
    """Draw each mode's speed-up over eager in every run; None where no case stands in two.

    Parameters
    ----------
    runs
        In the order of the axis.
    """
    series = _series(runs)
    if not series:
        return None
    groups = [
        (baseline, list(members))
        for baseline, members in groupby(series.items(), key=lambda item: item[0].baseline)
    ]
    modes = list(dict.fromkeys(case.mode for case in series))
    panels = [Panel(group(baseline), _HISTORY_HEIGHT) for baseline, _ in groups]
    with style.figure_style():
        figure, axes = stack(panels, left=0.6, right=0.2)
        for ax, (_, members) in zip(axes, groups, strict=True):
            limits = ratio_limits(i for _, points in members for i in points.values())
            ratio_axis(ax.yaxis, limits)
            ax.set_xlim(-0.5, len(runs) - 0.5)
            ax.xaxis.set_major_locator(FixedLocator(range(len(runs))))
            ax.xaxis.set_major_formatter(FixedFormatter([f"{i + 1}" for i in range(len(runs))]))
            ax.axhline(1, color=INK, linewidth=0.9)
            ax.grid(axis="y")
            ax.set_ylabel("times eager", labelpad=1)
            ax.set_xlabel("run, in order of time (95 % intervals)")
            for index, (case, points) in enumerate(members):
                _history_line(ax, case, points, shift=_shift(index, len(members)))
        bottom_legend(figure, [mode_handle(mode) for mode in modes], columns=_LEGEND_COLUMNS)
    return figure


def _series(runs: Sequence[ComparedRun]) -> dict[Case, dict[int, Interval]]:
    """Return each case's speed-up by the number of its run, of cases that stand in two or more."""
    found: dict[Case, dict[int, Interval]] = {}
    for index, run in enumerate(runs):
        for case, record in run.records.items():
            measured = None if case.is_baseline else case_effect(record)
            if measured is not None and not says_nothing(measured):
                found.setdefault(case, {})[index] = as_interval(measured)
    several = {case: points for case, points in found.items() if len(points) > 1}
    return dict(sorted(several.items(), key=lambda item: (item[0].baseline, item[0])))


def _history_line(ax: Axes, case: Case, points: dict[int, Interval], *, shift: float) -> None:
    seen = look(case.mode)
    low, high = ax.get_ylim()
    for index, interval in points.items():
        ax.plot(
            [index + shift] * 2,
            [interval.low or low, interval.high or high],
            color=seen.colour,
            linewidth=3,
            alpha=0.4,
            solid_capstyle="butt",
        )
    ax.plot(
        [index + shift for index in points],
        [interval.estimate for interval in points.values()],
        color=seen.colour,
        linestyle=seen.line,
        marker=seen.marker,
        markersize=5,
        markeredgecolor=SURFACE,
        markeredgewidth=0.6,
    )


def _shift(index: int, count: int) -> float:
    """Return how far a case's points stand beside the run's tick, so that intervals stay apart."""
    return 0.0 if count < 2 else 0.3 * (index / (count - 1) - 0.5)
