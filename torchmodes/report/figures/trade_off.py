"""Time against memory: which modes no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    group_title,
    in_order,
    mode_handle,
    stack,
)
from torchmodes.report.formatting import size_unit
from torchmodes.report.recommendation import Group, group_cases, statistics_of
from torchmodes.report.style import MUTED, SURFACE, look
from torchmodes.report.verdicts import JudgedRecord

_HEIGHT = 1.9
_COLUMNS = 3
_FEWEST = 2


def any_weighed(data: ReportData) -> bool:
    """Tell whether time and memory of two modes of a group are known."""
    return any(len(weighed(group)) >= _FEWEST for group in group_cases(data.cases))


def draw_trade_off(data: ReportData) -> Figure:
    """Draw each mode's time, as a share of eager's beside it, against its peak memory."""
    groups = [g for g in group_cases(data.cases) if len(weighed(g)) >= _FEWEST]
    panels = [Panel(group_title(g, several=len(data.machines) > 1), _HEIGHT) for g in groups]
    figure, axes = stack(panels, left=0.75, right=0.3)
    for ax, group in zip(axes, groups, strict=True):
        _panel(ax, weighed(group))
    names = {judged.name: judged.case.mode for group in groups for judged in weighed(group)}
    handles = [mode_handle(mode, name=name, line=False) for name, mode in names.items()]
    front = Line2D([], [], color=MUTED, drawstyle="steps-post", label="no mode is better in both")
    bottom_legend(figure, [*handles, front], columns=_COLUMNS)
    return figure


def weighed(group: Group) -> list[JudgedRecord]:
    """Return the measured cases of a group whose memory is known."""
    return in_order(
        c
        for c in (*group.competitors, *filter(None, [group.baseline]))
        if c.memory_bytes is not None and not statistics_of(c).speed_up.says_nothing
    )


def front(cases: Sequence[JudgedRecord]) -> list[JudgedRecord]:
    """Return the Pareto front: cases that no other beats in time and memory, by memory."""
    found: list[JudgedRecord] = []
    for judged in sorted(cases, key=lambda c: (c.memory_bytes or 0, _time(c))):
        if not found or _time(judged) < _time(found[-1]):
            found.append(judged)
    return found


def _time(judged: JudgedRecord) -> float:
    """Return a call's time as a share of eager's; eager's own is 1, whatever noise says."""
    return 1.0 if judged.case.is_baseline else 1 / statistics_of(judged).speed_up.estimate


def _panel(ax: Axes, cases: list[JudgedRecord]) -> None:
    factor, unit = size_unit(max(c.memory_bytes or 1 for c in cases))
    best = front(cases)
    ax.plot(
        [(c.memory_bytes or 0) / factor for c in best],
        [100 * _time(c) for c in best],
        color=MUTED,
        linewidth=1,
        drawstyle="steps-post",
    )
    for judged in cases:
        seen, speed_up = look(judged.case.mode), statistics_of(judged).speed_up
        x = (judged.memory_bytes or 0) / factor
        if speed_up.low and speed_up.high and not judged.case.is_baseline:
            ax.plot([x, x], [100 / speed_up.high, 100 / speed_up.low], color=seen.colour, alpha=0.4)
        ax.plot(
            [x],
            [100 * _time(judged)],
            marker=seen.marker,
            color=seen.colour,
            markersize=7,
            markerfacecolor=seen.colour if judged in best else SURFACE,
            markeredgecolor=seen.colour,
        )
    ax.set_xlim(0, 1.06 * max(c.memory_bytes or 1 for c in cases) / factor)
    ax.set_ylim(0, 110 * max(map(_time, cases)))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    ax.grid()
    ax.set_ylabel("time, eager = 100 %", labelpad=1)
    ax.set_xlabel(f"peak memory in {unit}, above the start")
