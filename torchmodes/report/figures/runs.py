"""The runs of each case over time: what one process measured, and the next."""

from __future__ import annotations

from datetime import datetime
from math import exp

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    group_title,
    in_order,
    mode_handle,
    stack,
)
from torchmodes.report.figures.ratios import ratio_axis, ratio_limits
from torchmodes.report.recommendation import Group, group_cases
from torchmodes.report.style import INK, SURFACE, look
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import CaseRun, Interval

_HEIGHT = 1.7
_COLUMNS = 3
_LONG = 3 * 3600.0
"""Seconds from which on a run is told in hours."""


def any_runs(data: ReportData) -> bool:
    """Tell whether a case was measured in several processes."""
    return any(map(_several, group_cases(data.cases)))


def draw_runs(data: ReportData) -> Figure:
    """Draw the centre of each run against when it began, a line for each mode of a group."""
    groups = [group for group in group_cases(data.cases) if _several(group)]
    panels = [Panel(group_title(g, several=len(data.machines) > 1), _HEIGHT) for g in groups]
    figure, axes = stack(panels, left=0.6, right=0.2)
    for ax, group in zip(axes, groups, strict=True):
        _panel(ax, _several(group))
    names = {judged.name: judged.case.mode for group in groups for judged in _several(group)}
    handles = [mode_handle(mode, name=name) for name, mode in names.items()]
    bottom_legend(figure, handles, columns=_COLUMNS)
    return figure


def _several(group: Group) -> list[JudgedRecord]:
    return in_order(c for c in group.cases if c.measured and len(c.record.runs) > 1)


def _panel(ax: Axes, cases: list[JudgedRecord]) -> None:
    first = min(_began(run) for judged in cases for run in judged.record.runs)
    last = max(_began(run) for judged in cases for run in judged.record.runs)
    factor, unit = (3600.0, "hours") if last - first > _LONG else (60.0, "minutes")
    centres = [exp(run.log_speed_up) for judged in cases for run in judged.record.runs]
    ratio_axis(ax.yaxis, ratio_limits(Interval(estimate=c, low=None, high=None) for c in centres))
    for judged in cases:
        seen = look(judged.case.mode)
        at = [(_began(run) - first) / factor for run in judged.record.runs]
        speed_ups = [exp(run.log_speed_up) for run in judged.record.runs]
        ax.plot(at, speed_ups, color=seen.colour, linestyle=seen.line, linewidth=1)
        for x, y, run in zip(at, speed_ups, judged.record.runs, strict=True):
            ax.plot(
                [x],
                [y],
                marker=seen.marker,
                color=seen.colour,
                markersize=5.5,
                markerfacecolor=SURFACE if run.left_out else seen.colour,
                markeredgecolor=seen.colour,
            )
    ax.axhline(1, color=INK, linewidth=0.9)
    ax.xaxis.set_major_locator(MaxNLocator(7))
    ax.grid()
    ax.set_ylabel("times as fast", labelpad=1)
    ax.set_xlabel(f"{unit} after the first run (hollow: not counted)")


def _began(run: CaseRun) -> float:
    """Return when a run began, seconds since 1970."""
    return datetime.fromisoformat(run.run.started_at).timestamp()
