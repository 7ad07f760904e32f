"""Latency and throughput against batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    counted,
    mode_handle,
    stack,
    ticks,
)
from torchmodes.report.formatting import time_tick
from torchmodes.report.sentences import deployment as deployment_name
from torchmodes.report.style import look
from torchmodes.report.verdicts import Deployment, JudgedRecord

_HEIGHT = 1.9
_COLUMNS = 3
_MOST_TICKS = 9

Lines = dict[tuple[str, str], list[JudgedRecord]]


def lines(data: ReportData, deployment: Deployment) -> Lines:
    """Return the measured cases of each mode and precision that ran at two batch sizes or more."""
    found: Lines = {}
    for judged in data.about(deployment).cases:
        if judged.measured and (judged.competes or judged.case.is_baseline):
            found.setdefault((judged.case.mode, judged.case.precision), []).append(judged)
    several = {key: cases for key, cases in found.items() if len(cases) > 1}
    return dict(sorted(several.items(), key=lambda item: (item[0][0] != "eager", item[0])))


def has_batches(data: ReportData) -> bool:
    """Tell whether a mode of some deployment ran at two batch sizes or more."""
    return any(lines(data, deployment) for deployment in data.deployments)


@dataclass(frozen=True)
class BatchLine:
    """A mode over batch sizes: seconds of a call and items per second, both medians."""

    mode: str
    name: str
    sizes: list[int]
    latencies_s: list[float]
    rates: list[float]
    knee: int | None = None
    """The batch size whose throughput is ringed."""


def draw_batches(data: ReportData) -> Figure:
    """Draw median latency and items per second of each mode against the batch size."""
    panels, item = {}, "item"
    for deployment in data.deployments:
        if found := lines(data, deployment):
            title = f"{deployment_name(deployment)}{data.host_beside(deployment.machine)}"
            panels[title] = [_line(cases) for cases in found.values()]
            item = next(iter(found.values()))[0].record.item
    return draw_lines(panels, item)


def draw_lines(panels: Mapping[str, list[BatchLine]], item: str) -> Figure:
    """Draw a pair of panels, latency and throughput, for each title."""
    names = {line.name: line.mode for found in panels.values() for line in found}
    ringed = any(line.knee is not None for found in panels.values() for line in found)
    shown = ("latency", "throughput (the knee is ringed)" if ringed else "throughput")
    figure, axes = stack(
        [Panel(f"{title}: {what}", _HEIGHT) for title in panels for what in shown],
        left=0.85,
        right=0.15,
    )
    for index, found in enumerate(panels.values()):
        latency, throughput = axes[2 * index], axes[2 * index + 1]
        for line in found:
            latency.plot(line.sizes, line.latencies_s, **look(line.mode).curve)
            throughput.plot(line.sizes, line.rates, **look(line.mode).curve)
            if line.knee is not None:
                rate = line.rates[line.sizes.index(line.knee)]
                ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}
                throughput.plot(line.knee, rate, **ring, markeredgecolor=look(line.mode).colour)
        sizes = sorted({size for line in found for size in line.sizes})
        for ax, write in ((latency, time_tick), (throughput, _count)):
            _axes(ax, sizes, write)
            ax.set_xlabel(f"batch size, {counted(item)}")
        throughput.set_ylabel(f"{counted(item)} per second", labelpad=1)
        latency.set_ylabel("median latency", labelpad=1)
    handles = [mode_handle(mode, name=name) for name, mode in names.items()]
    bottom_legend(figure, handles, columns=_COLUMNS)
    return figure


def _line(cases: list[JudgedRecord]) -> BatchLine:
    statistics = [judged.statistics for judged in cases]
    return BatchLine(
        mode=cases[0].case.mode,
        name=cases[0].name,
        sizes=[judged.case.batch_size for judged in cases],
        latencies_s=[one.candidate.median_s for one in statistics],
        rates=[one.throughput_per_s for one in statistics],
    )


def _axes(ax: Axes, sizes: list[int], write: Callable[[float], str]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    every = math.ceil(len(sizes) / _MOST_TICKS)
    ticks(ax.xaxis, FixedLocator(sizes[::every]), lambda size: f"{size:,.0f}")
    low, high = ax.get_ylim()
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    ticks(ax.yaxis, LogLocator(10, subs=subs, numticks=12), write)
    ax.grid()


def _count(value: float) -> str:
    """Write the tick of a rate: ``2,500``."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"
