"""How fast: speed-ups with their intervals, distributions of latencies, items per second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from torchmodes.measure.latency import median_interval
from torchmodes.measure.statistics import sides
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    counted,
    group_title,
    in_order,
    label_rows,
    label_width,
    stack,
    value_beside,
)
from torchmodes.report.figures.ratios import (
    ratio_bars,
    ratio_limits,
    ratio_mark,
    ratio_ticks,
    settled_handles,
    shade_rows,
)
from torchmodes.report.formatting import call, duration, rate, time_unit
from torchmodes.report.recommendation import Group, group_cases, statistics_of
from torchmodes.report.style import BASELINE, FLOOR, INK, MARGIN, MUTED, SURFACE, look
from torchmodes.report.verdicts import JudgedRecord

_ROW = 0.33
_TALL_ROW = 0.5
_DENSITY_POINTS = 40
_DENSITY_BINS = 200


def any_measured(data: ReportData) -> bool:
    """Tell whether a case has figures that may be shown."""
    return any(judged.measured for judged in data.cases)


def any_samples(data: ReportData) -> bool:
    """Tell whether a case has its single samples."""
    return any(
        judged.measured and judged.record.samples is not None and judged.record.samples.counted
        for judged in data.cases
    )


def draw_speed_up(data: ReportData) -> Figure:
    """Draw a forest plot: each case's speed-up over eager with its interval, floors shaded."""
    groups = _groups(data)
    panels = [
        Panel(group_title(g, several=len(data.machines) > 1), _ROW * len(_shown(g))) for g in groups
    ]
    figure, axes = stack(panels, left=label_width(c for g in groups for c in _shown(g)), right=1.6)
    limits = ratio_limits([statistics_of(c).speed_up for g in groups for c in _shown(g)])
    for ax, group in zip(axes, groups, strict=True):
        cases = _shown(group)
        label_rows(ax, cases)
        ax.set_xscale("log")
        ax.set_xlim(*limits)
        ratio_ticks(ax.xaxis, limits)
        shade_rows(ax, [statistics_of(c).margin for c in cases], MARGIN)
        shade_rows(ax, [statistics_of(c).noise_floor for c in cases], FLOOR)
        ratio_bars(ax, [statistics_of(c).speed_up for c in cases], [c.case.mode for c in cases])
        for row, judged in enumerate(cases):
            _forest_row(ax, row, judged)
        ax.axvline(1, color=INK, linewidth=0.9, zorder=1.5)
        ax.set_xlabel("times as fast as eager (log scale; 95 % interval)")
    bottom_legend(
        figure,
        [
            *settled_handles(),
            Patch(facecolor=FLOOR, label="noise floor of this machine"),
            Patch(facecolor=MARGIN, label="smallest effect that counts"),
        ],
        columns=2,
    )
    return figure


def draw_latency(data: ReportData) -> Figure:
    """Draw the distribution of every sample: the mode above its line, eager beside it below."""
    groups = _groups(data)
    panels = [
        Panel(group_title(g, several=len(data.machines) > 1), _TALL_ROW * len(_shown(g)))
        for g in groups
    ]
    figure, axes = stack(panels, left=label_width(c for g in groups for c in _shown(g)), right=0.86)
    for ax, group in zip(axes, groups, strict=True):
        _latency_panel(ax, group)
    grey = Patch(facecolor=BASELINE, alpha=0.35, label="eager, measured alternately")
    bottom_legend(
        figure,
        [
            Patch(facecolor=MUTED, label="the mode's samples"),
            grey,
            Line2D([], [], color=INK, linewidth=3.2, label="median, 95 % interval"),
            Line2D([], [], color=MUTED, linewidth=0.9, label="middle 90 % of samples"),
        ],
        columns=2,
    )
    return figure


def draw_throughput(data: ReportData) -> Figure:
    """Draw items per second of each mode, joined to eager's in the same process."""
    groups = _groups(data)
    panels = [
        Panel(group_title(g, several=len(data.machines) > 1), _ROW * len(_shown(g))) for g in groups
    ]
    figure, axes = stack(panels, left=label_width(c for g in groups for c in _shown(g)), right=0.86)
    for ax, group in zip(axes, groups, strict=True):
        cases = _shown(group)
        label_rows(ax, cases)
        own_rates = [statistics_of(c).throughput_per_s for c in cases]
        eager_rates = [group.batch_size / statistics_of(c).baseline.median_s for c in cases]
        highest, rows = max(*own_rates, *eager_rates), range(len(cases))
        colours = [look(judged.case.mode).colour for judged in cases]
        ax.hlines(rows, eager_rates, own_rates, colors=colours, linewidth=2.2, alpha=0.5)
        ax.plot(eager_rates, rows, "|", color=BASELINE, markersize=11, markeredgewidth=1.8)
        for row, (judged, own) in enumerate(zip(cases, own_rates, strict=True)):
            seen = look(judged.case.mode)
            ax.plot(
                [own],
                [row],
                marker=seen.marker,
                color=seen.colour,
                markersize=7,
                markeredgecolor=SURFACE,
                markeredgewidth=0.7,
            )
            value_beside(ax, row, f"{rate(own)}/s")
        ax.set_xlim(0, highest * 1.06)
        factor, unit = (1e3, "1,000 ") if highest >= 1e4 else (1.0, "")
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(lambda value, _, f=factor: f"{value / f:g}")
        ax.set_xlabel(f"{unit}{counted(cases[0].record.item)} per second")
    bottom_legend(
        figure,
        [
            Line2D(
                [],
                [],
                color=BASELINE,
                marker="|",
                linestyle="none",
                markersize=10,
                markeredgewidth=1.8,
                label="eager in the same process",
            ),
            Line2D([], [], color=MUTED, marker="o", linestyle="none", label="the mode"),
        ],
        columns=2,
    )
    return figure


def _groups(data: ReportData) -> list[Group]:
    return [group for group in group_cases(data.cases) if _shown(group)]


def _shown(group: Group) -> list[JudgedRecord]:
    return in_order(judged for judged in group.cases if judged.measured)


def _forest_row(ax: Axes, row: int, judged: JudgedRecord) -> None:
    speed_up = statistics_of(judged).speed_up
    ratio_mark(ax, row, speed_up, mode=judged.case.mode, outcome=judged.verdict or "")


def _latency_panel(ax: Axes, group: Group) -> None:
    cases = _shown(group)
    label_rows(ax, cases)
    pairs = [_samples(judged) for judged in cases]
    low, high = _visible_range(pairs)
    factor, unit = time_unit(high)
    beyond = 0
    for row, (judged, (baseline, candidate)) in enumerate(zip(cases, pairs, strict=True)):
        colour = look(judged.case.mode).colour
        _density(ax, row, baseline, (low, high), factor, colour=BASELINE, down=True)
        _density(ax, row, candidate, (low, high), factor, colour=colour, down=False)
        value_beside(ax, row - 0.13, duration(float(np.median(candidate))), strong=True)
        hidden = int((candidate > high).sum())
        beyond += hidden
        value_beside(
            ax, row + 0.19, f"n = {candidate.size:,}" + (f" ({hidden} →)" if hidden else ""), size=7
        )
    _medians(ax, [candidate for _, candidate in pairs], factor)
    ax.set_xlim(low / factor, high / factor)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel(
        f"{unit} per {call(group.deployment.task)}"
        + ("   (→: samples beyond the axis)" if beyond else "")
    )


def _medians(ax: Axes, samples: Sequence[NDArray[np.float64]], factor: float) -> None:
    """Draw every row's median on its 95 % interval, and that on the middle 90 % of the samples."""
    middles = np.array([np.quantile(side, [0.05, 0.95]) for side in samples]) / factor
    ax.hlines(range(len(samples)), middles[:, 0], middles[:, 1], colors=MUTED, linewidth=0.9)
    known = [(row, i) for row, side in enumerate(samples) if (i := median_interval(side))]
    if known:
        bounds = np.array([interval for _, interval in known]) / factor
        rows = [row for row, _ in known]
        ax.hlines(rows, bounds[:, 0], bounds[:, 1], colors=INK, linewidth=3.2)
    ax.plot(
        [float(np.median(side)) / factor for side in samples],
        range(len(samples)),
        linestyle="none",
        marker="o",
        color=INK,
        markerfacecolor=SURFACE,
        markersize=4.2,
        markeredgewidth=1.2,
    )


def _samples(judged: JudgedRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return every sample of the baseline and of the mode, in seconds per call."""
    samples = judged.record.samples
    assert samples is not None
    baseline, candidate = sides(
        [block.order for block in samples.counted], [block.seconds for block in samples.counted]
    )
    return baseline.ravel(), candidate.ravel()


def _visible_range(
    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[float, float]:
    """Return limits in seconds; the far tail of the slowest samples may lie beyond.

    The axis goes past every side's 95th percentile by as much as that lies above the median, so
    that one hiccup of the machine does not squeeze all modes into a corner.
    """
    both = [side for pair in pairs for side in pair]
    low = min(side.min() for side in both)
    reaches = [np.quantile(side, [0.5, 0.95]) for side in both]
    high = max(
        min(float(2 * tail - middle), float(side.max()))
        for side, (middle, tail) in zip(both, reaches, strict=True)
    )
    air = 0.04 * (high - low) or 0.05 * high
    return float(max(0, low - air)), float(high + air)


def _density(
    ax: Axes,
    row: int,
    samples: NDArray[np.float64],
    limits: tuple[float, float],
    factor: float,
    *,
    colour: str,
    down: bool,
) -> None:
    """Draw half a violin over the visible samples; nothing where they are all alike."""
    visible = samples[samples <= limits[1]]
    if visible.size < 5 or np.ptp(visible) == 0:
        return
    counts, edges = np.histogram(visible, _DENSITY_BINS)
    quartiles = np.quantile(visible, [0.25, 0.75])
    spread = min(float(visible.std()), float(np.ptp(quartiles)) / 1.34) or float(visible.std())
    bandwidth = 0.9 * spread * visible.size**-0.2  # Silverman (1986), equation 3.31
    smooth = gaussian_filter1d(counts.astype(float), bandwidth / (edges[1] - edges[0]))
    points = np.linspace(visible.min(), visible.max(), _DENSITY_POINTS)
    density = np.interp(points, (edges[1:] + edges[:-1]) / 2, smooth)
    reach = 0.42 * density / density.max() * (1 if down else -1)
    ax.fill(
        np.concatenate([points, points[[-1, 0]]]) / factor,
        np.concatenate([row + reach, [row, row]]),
        color=colour,
        alpha=0.3 if down else 0.85,
        linewidth=0,
    )
