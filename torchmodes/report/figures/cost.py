"""What a mode costs before it pays, and when it has paid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Groups,
    Panel,
    bottom_legend,
    groups_with,
    label_rows,
    label_width,
    mode_handle,
    stack,
    ticks,
    value_beside,
)
from torchmodes.report.formatting import call, duration, size, size_unit, time_tick
from torchmodes.report.style import INK, MUTED, SURFACE, look
from torchmodes.report.verdicts import JudgedRecord

_ROW = 0.3
_FEWEST_CALLS = 1e4
_MOST_CALLS = 1e9
_POINTS = 40
_SHOWN_LOSS = 50.0
_LOW_PRECISIONS = {"bf16": "-.", "fp16": "-.", "int8": ":", "int4": ":", "fp8": ":"}
"""Lines that tell the precisions of one mode apart."""


def costed(data: ReportData) -> Groups:
    """Return the groups with measured cases whose cold seconds are known."""
    return groups_with(data, lambda judged: judged.measured and judged.cold_s is not None)


def paying(data: ReportData) -> Groups:
    """Return the groups with cases whose cold seconds and eager's are known, and whose gain is."""
    return groups_with(data, _is_paying)


def _is_paying(judged: JudgedRecord) -> bool:
    cost = judged.record.cost
    return (
        judged.competes
        and judged.cold_s is not None
        and not judged.speed_up.says_nothing
        and cost is not None
        and cost.baseline_first_call_s is not None
    )


def draw_cost(data: ReportData) -> Figure:
    """Draw the start, cold and warm, and the peak memory of each case."""
    groups = costed(data)
    panels = [
        Panel(f"{title}: {what}", _ROW * len(cases))
        for title, cases in groups
        for what in ("start", "peak memory")
    ]
    left = label_width(c.name for _, cases in groups for c in cases)
    figure, axes = stack(panels, left=left, right=1.25)
    for index, (_, cases) in enumerate(groups):
        _start_panel(axes[2 * index], cases)
        _memory_panel(axes[2 * index + 1], cases)
    dot: dict[str, Any] = {"color": MUTED, "marker": "o", "linestyle": "none"}
    handles = [
        Line2D([], [], **dot, label="cold start"),
        Line2D([], [], **dot, markerfacecolor=SURFACE, label="warm start"),
        Patch(facecolor=MUTED, label="process (on a GPU: allocated)"),
        Patch(facecolor=SURFACE, edgecolor=MUTED, label="largest compiler child"),
    ]
    bottom_legend(figure, handles, columns=2)
    return figure


def draw_break_even(data: ReportData) -> Figure:
    """Draw the time saved or lost against eager, start included, as calls add up."""
    groups = paying(data)
    panels = [Panel(title, 1.6) for title, _ in groups]
    shown = {c.name: c for _, cases in groups for c in cases}
    figure, axes = stack(panels, left=0.82, right=0.2)
    for ax, (_, cases) in zip(axes, groups, strict=True):
        _break_even_panel(ax, cases)
    handles = [
        mode_handle(c.case.mode, name=name, line=_line(c)) for name, c in sorted(shown.items())
    ]
    bottom_legend(figure, handles, columns=3)
    return figure


def _start_panel(ax: Axes, cases: list[JudgedRecord]) -> None:
    label_rows(ax, [judged.name for judged in cases])
    for row, judged in enumerate(cases):
        seen, starts = look(judged.case.mode), [judged.cold_s or 0.0, judged.warm_s or 0.0]
        known = [start for start in starts if start > 0]
        ax.plot(known, [row] * len(known), color=seen.colour, linewidth=2, alpha=0.4)
        for start, filled in zip(starts, (True, False), strict=True):
            if start > 0:
                ax.plot(start, row, **seen.point(filled=filled), markersize=6)
        warm = "" if judged.warm_s is None else f" / {duration(judged.warm_s)}"
        value_beside(ax, row, f"{duration(judged.cold_s)}{warm}", size=8)
    ax.set_xscale("log")
    ax.margins(x=0.06)
    ticks(ax.xaxis, LogLocator(10, numticks=6), time_tick)
    ax.set_xlabel("until the first result (log scale)")


def _memory_panel(ax: Axes, cases: list[JudgedRecord]) -> None:
    label_rows(ax, [judged.name for judged in cases])
    children = [(c.record.cost.peak_children_bytes or 0) if c.record.cost else 0 for c in cases]
    largest = max([*(judged.memory_bytes or 0 for judged in cases), *children])
    factor, unit = size_unit(largest or 1)
    for row, (judged, child) in enumerate(zip(cases, children, strict=True)):
        colour, own = look(judged.case.mode).colour, (judged.memory_bytes or 0) / factor
        if child:
            ax.barh(row - 0.17, own, 0.34, color=colour)
            ax.barh(row + 0.18, child / factor, 0.26, facecolor=SURFACE, edgecolor=colour)
        else:
            ax.barh(row, own, 0.62, color=colour)
        value_beside(ax, row, size(judged.memory_bytes))
    ax.set_xlim(0, 1.04 * largest / factor or 1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(f"peak memory in {unit}, above the start (one reading each)")


def _break_even_panel(saved: Axes, cases: list[JudgedRecord]) -> None:
    last = _last_call(cases)
    calls = np.unique(np.geomspace(1, last, _POINTS).round())
    baseline_s = float(np.median([c.statistics.baseline.median_s for c in cases]))
    first_s = float(np.median([c.record.cost.baseline_first_call_s for c in cases]))  # ty: ignore
    eager = first_s + (calls - 1) * baseline_s
    for judged in cases:
        seen, statistics = look(judged.case.mode), judged.statistics
        own = (judged.cold_s or 0) + (calls - 1) * baseline_s / statistics.speed_up.estimate
        saved.plot(calls, 100 * (1 - own / eager), color=seen.colour, linestyle=_line(judged))
        _mark_break_even(saved, judged, last)
    saved.set_xscale("log")
    saved.set_xlim(1, last)
    ticks(saved.xaxis, LogLocator(10, numticks=8), _power)
    saved.grid()
    saved.set_xlabel(f"{call(cases[0].case.task)}s")
    top = max(5.0, *(100 * (1 - 1 / c.speed_up.estimate) for c in cases))
    saved.set_ylim(-_SHOWN_LOSS, top * 1.25)
    saved.axhline(0, color=INK, linewidth=0.9)
    saved.yaxis.set_major_formatter(lambda value, _: _signed(value))
    saved.set_ylabel("time saved", labelpad=1)


def _line(judged: JudgedRecord) -> Any:
    """Return the line of a case: its mode's, or its precision's where that is a low one."""
    return _LOW_PRECISIONS.get(judged.case.precision, look(judged.case.mode).line)


def _mark_break_even(ax: Axes, judged: JudgedRecord, last: float) -> None:
    """Mark where a mode that is faster has paid its start back, with the interval."""
    cost = judged.record.cost
    if judged.verdict != "faster" or cost is None or cost.break_even_calls is None:
        return
    even, seen = cost.break_even_calls, look(judged.case.mode)
    low, high = max(1, even.low or 1), last if even.high is None else max(1, even.high)
    ax.plot([low, high], [0, 0], color=seen.colour, linewidth=4, alpha=0.6)
    (mark,) = ax.plot(max(1, even.estimate), 0, **seen.point(), markersize=7)
    mark.set(markeredgecolor=SURFACE, zorder=4, clip_on=False)


def _last_call(cases: list[JudgedRecord]) -> float:
    """Return how far the axis of calls goes: ten times beyond the last break-even."""
    evens = [
        c.record.cost.break_even_calls.estimate
        for c in cases
        if c.verdict == "faster" and c.record.cost and c.record.cost.break_even_calls
    ]
    furthest = 10 * max(evens, default=0)
    return float(10 ** math.ceil(math.log10(min(_MOST_CALLS, max(_FEWEST_CALLS, furthest)))))


def _power(value: float) -> str:
    """Write a power of ten in words that need no superscript."""
    for factor, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def _signed(share: float) -> str:
    sign = "" if round(share) == 0 else "+" if share > 0 else "−"
    return f"{sign}{abs(share):.0f} %"
