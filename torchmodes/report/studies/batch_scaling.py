"""Batch scaling: from which batch size on more throughput is bought with latency alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from torchmodes.report.figures.panels import Panel, bottom_legend, counted, mode_handle, stack
from torchmodes.report.formatting import duration, listing, percent, rate
from torchmodes.report.studies.rows import Told
from torchmodes.report.style import look
from torchmodes.studies.catalogue import BatchPoint, BatchScaling, Series


def tell(result: BatchScaling) -> Told:
    """Tell from which batch size on more throughput is bought with latency alone."""
    rows, knees, rising = [], [], []
    for series in result.series:
        name = f"{series.mode} of {series.model} ({series.precision})"
        rows += [
            (
                name,
                f"{point.batch_size:,}",
                duration(point.latency_s),
                rate(point.throughput_per_s),
                "knee" if point.batch_size == series.knee else point.reason or "",
            )
            for point in series.points
        ]
        points = _measured(series)
        knee = next((point for point in points if point.batch_size == series.knee), None)
        if knee is None:
            continue
        where = f"at batch {series.knee:,} ({duration(knee.latency_s)} a call)"
        if knee is max(points, key=lambda point: point.batch_size):
            rising.append(f"{name} {where}")
        else:
            share = (knee.throughput_per_s or 0) / max(p.throughput_per_s or 0 for p in points)
            knees.append(f"{name} has {percent(share)} of its best throughput {where}")
    sentences = []
    if knees:
        sentences.append(f"{listing(knees)}; a larger batch adds latency and little else.")
    if rising:
        sentences.append(
            f"Throughput still rose up to the largest batch measured: {listing(rising)}."
        )
    text = " ".join(sentences) or "No case was measured at two batch sizes or more."
    return text, ("Case", "Batch", "Latency", "Throughput", ""), tuple(rows)


def draw(result: BatchScaling) -> Figure | None:
    """Draw latency and throughput against batch size, a pair of panels for each model."""
    drawn = [series for series in result.series if _measured(series)]
    if not drawn:
        return None
    models = sorted({(series.model, series.task, series.device) for series in drawn})
    panels = [
        Panel(f"{model} · {task} · {device}: {what}", 1.6)
        for model, task, device in models
        for what in ("latency", "throughput (the knee is ringed)")
    ]
    modes = sorted({series.mode for series in drawn}, key=lambda mode: (mode != "eager", mode))
    figure, axes = stack(panels, left=0.85, right=0.2, legend_rows=math.ceil(len(modes) / 3))
    for index, model in enumerate(models):
        mine = [s for s in drawn if (s.model, s.task, s.device) == model]
        latency, throughput = axes[2 * index : 2 * index + 2]
        for series in mine:
            _draw_series(latency, throughput, series)
        for ax in (latency, throughput):
            _log_axes(ax, sorted({p.batch_size for s in mine for p in _measured(s)}))
        latency.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        throughput.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
        )
        latency.set_ylabel("median latency")
        throughput.set_ylabel(f"{counted(mine[0].item)} per second")
    bottom_legend(figure, [mode_handle(mode) for mode in modes], columns=3)
    return figure


def _draw_series(latency: Axes, throughput: Axes, series: Series) -> None:
    seen, points = look(series.mode), _measured(series)
    shape: dict[str, Any] = {
        "color": seen.colour,
        "marker": seen.marker,
        "linestyle": seen.line,
        "markersize": 5,
    }
    sizes = [point.batch_size for point in points]
    latency.plot(sizes, [point.latency_s for point in points], **shape)
    throughput.plot(sizes, [point.throughput_per_s for point in points], **shape)
    knees = [point for point in points if point.batch_size == series.knee]
    throughput.plot(
        [point.batch_size for point in knees],
        [point.throughput_per_s for point in knees],
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=seen.colour,
    )


def _measured(series: Series) -> list[BatchPoint]:
    return [point for point in series.points if point.latency_s is not None]


def _log_axes(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=6))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.margins(y=0.12)
    ax.set_xlabel("batch size")
    ax.grid()
