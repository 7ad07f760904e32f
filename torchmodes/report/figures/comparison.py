"""How fast: speed-ups with their intervals, and where the samples lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from torchmodes.measure.statistics import every_call
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    VALUE,
    Groups,
    Panel,
    about_case,
    bottom_legend,
    groups_with,
    label_row,
    label_rows,
    label_width,
    make_rows,
    stack,
    value_beside,
)
from torchmodes.report.figures.ratios import (
    ratio_axis,
    ratio_bars,
    ratio_limits,
    ratio_mark,
    settled_handles,
    shade_rows,
)
from torchmodes.report.formatting import call, duration, time_tick
from torchmodes.report.sentences import verdict
from torchmodes.report.style import BASELINE, FLOOR, INK, MARGIN, MUTED, look
from torchmodes.report.verdicts import JudgedRecord

_ROW = 0.24
_TALL_ROW = 0.42
_DOTS = np.linspace(0.025, 0.975, 20)
"""Each dot of a side stands for a twentieth of its samples: one outlier moves none of them far."""


def measured(data: ReportData) -> Groups:
    """Return the groups with cases whose figures may be shown."""
    return groups_with(data, lambda judged: judged.measured)


def any_samples(data: ReportData) -> bool:
    """Tell whether a case has its single samples."""
    return any(
        judged.measured and judged.record.samples is not None and judged.record.samples.counted
        for judged in data.cases
    )


def draw_speed_up(data: ReportData) -> Figure:
    """Draw a forest plot: each case's speed-up over eager with its interval, floors shaded."""
    groups = measured(data)
    panels = [Panel(title, _ROW * len(cases)) for title, cases in groups]
    left = label_width(c.name for _, cases in groups for c in cases)
    figure, axes = stack(panels, left=left, right=VALUE, axis=0.3)
    limits = ratio_limits([c.speed_up for _, cases in groups for c in cases])
    for ax, (_, cases) in zip(axes, groups, strict=True):
        make_rows(ax, len(cases))
        ratio_axis(ax, limits)
        shade_rows(ax, [c.statistics.margin for c in cases], MARGIN)
        shade_rows(ax, [c.statistics.noise_floor for c in cases], FLOOR)
        for row, judged in enumerate(cases):
            speed_up, mode = judged.speed_up, judged.case.mode
            with about_case(ax, data.anchor(judged)):
                label_row(ax, row, judged.name)
                ratio_bars(ax, [speed_up], [mode], first=row)
                ratio_mark(ax, row, speed_up, mode=mode, outcome=verdict(judged))
        ax.axvline(1, color=INK, linewidth=0.9, zorder=1.5)
    shades = [
        Patch(facecolor=FLOOR, label="measuring may differ by that"),
        Patch(facecolor=MARGIN, label="too small to count"),
    ]
    bottom_legend(figure, [*settled_handles(), *shades], columns=2)
    return figure


def draw_latency(data: ReportData) -> Figure:
    """Draw where the samples lie: the mode's on its line, eager's beside it below."""
    groups = measured(data)
    panels = [Panel(title, _TALL_ROW * len(cases)) for title, cases in groups]
    left = label_width(c.name for _, cases in groups for c in cases)
    figure, axes = stack(panels, left=left, right=0.86)
    for ax, (_, cases) in zip(axes, groups, strict=True):
        _latency_panel(ax, cases)
    handles = [
        Line2D([], [], color=MUTED, marker="o", label="the mode, in twentieths"),
        Line2D([], [], color=BASELINE, marker="|", label="eager beside it"),
        Line2D([], [], color=INK, marker="|", markersize=11, label="median"),
    ]
    for handle in handles:
        handle.set_linestyle("none")
    bottom_legend(figure, handles, columns=2)
    return figure


def _latency_panel(ax: Axes, cases: list[JudgedRecord]) -> None:
    label_rows(ax, [judged.name for judged in cases])
    pairs = [_samples(judged) for judged in cases]
    for row, (judged, (baseline, candidate)) in enumerate(zip(cases, pairs, strict=True)):
        seen = look(judged.case.mode)
        _dots(ax, row + 0.2, baseline, marker="|", colour=BASELINE, size=6)
        _dots(ax, row - 0.1, candidate, marker=seen.marker, colour=seen.colour, size=4)
        median = float(np.median(candidate))
        ax.plot(median, row - 0.1, marker="|", color=INK, markersize=11, markeredgewidth=1.6)
        value_beside(ax, row - 0.12, duration(median), strong=True)
        value_beside(ax, row + 0.2, f"n = {candidate.size:,}", size=7)
    ax.set_xscale("log")
    low, high = _limits([side for pair in pairs for side in pair])
    ax.set_xlim(low, high)
    steps = _steps(high / low)
    ax.xaxis.set_major_locator(LogLocator(10, subs=steps, numticks=9))
    ax.xaxis.set_major_formatter(lambda value, _: time_tick(value))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(f"time of a {call(cases[0].case.task)} (log scale; a dot: 5 % of the samples)")


def _steps(reach: float) -> tuple[float, ...]:
    """Return the ticks of a decade, few enough for their labels to stand apart."""
    if reach > 100:
        return (1,)
    return (1, 2, 5) if reach > 8 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def _dots(
    ax: Axes, row: float, samples: NDArray[np.float64], *, marker: str, colour: str, size: float
) -> None:
    ax.plot(
        np.quantile(samples, _DOTS),
        np.full(_DOTS.size, row),
        linestyle="none",
        marker=marker,
        color=colour,
        markersize=size,
        alpha=0.6,
        markeredgewidth=0.9 if marker == "|" else 0,
    )


def _limits(both: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return limits in seconds that hold every dot."""
    low = min(float(np.quantile(side, _DOTS[0])) for side in both)
    high = max(float(np.quantile(side, _DOTS[-1])) for side in both)
    air = max((high / low) ** 0.05, 1.02)
    return low / air, high * air


def _samples(judged: JudgedRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the samples that count of the baseline and of the mode, in seconds per call."""
    record = judged.record
    assert record.samples is not None
    left_out = {run.number for run in record.runs if run.left_out is not None}
    blocks = [b for b in record.samples.counted if b.run not in left_out] or record.samples.counted
    baseline, candidate = every_call(blocks)
    return np.array(baseline), np.array(candidate)
