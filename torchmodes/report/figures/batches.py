"""Latency and throughput against batch size."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import Panel, bottom_legend, counted, mode_handle, stack
from torchmodes.report.formatting import time_unit
from torchmodes.report.recommendation import statistics_of
from torchmodes.report.sentences import deployment as deployment_name
from torchmodes.report.style import SURFACE, look
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
    several = {key: sorted(cases, key=_batch) for key, cases in found.items() if len(cases) > 1}
    return dict(sorted(several.items(), key=lambda item: (item[0][0] != "eager", item[0])))


def has_batches(data: ReportData) -> bool:
    """Tell whether a mode of some deployment ran at two batch sizes or more."""
    return any(lines(data, deployment) for deployment in data.deployments)


def draw_batches(data: ReportData) -> Figure:
    """Draw median latency and items per second of each mode against the batch size."""
    drawn = {s: found for s in data.deployments if (found := lines(data, s))}
    several = len(data.machines) > 1
    panels = [
        Panel(f"{_named(deployment, several)}: {what}", _HEIGHT)
        for deployment in drawn
        for what in ("latency", "throughput")
    ]
    keys = list(dict.fromkeys(key for found in drawn.values() for key in found))
    rows = math.ceil(len(keys) / _COLUMNS)
    figure, axes = stack(panels, left=0.85, right=0.15, legend_rows=rows)
    for index, found in enumerate(drawn.values()):
        latency, throughput = axes[2 * index], axes[2 * index + 1]
        for cases in found.values():
            sizes = [_batch(judged) for judged in cases]
            statistics = [statistics_of(judged) for judged in cases]
            _line(latency, cases[0], sizes, [s.candidate.median_s for s in statistics])
            _line(throughput, cases[0], sizes, [s.throughput_per_s for s in statistics])
        everything = [judged for cases in found.values() for judged in cases]
        items = counted(everything[0].record.item)
        for ax, write in ((latency, _seconds), (throughput, _count)):
            _axes(ax, sorted({_batch(judged) for judged in everything}), write)
            ax.set_xlabel(f"{items} a {'step' if cases[0].case.task == 'training' else 'call'}")
        throughput.set_ylabel(f"{items} per second", labelpad=1)
        latency.set_ylabel("median latency", labelpad=1)
    bottom_legend(
        figure, [mode_handle(mode, name=_name(mode, p)) for mode, p in keys], columns=_COLUMNS
    )
    return figure


def _line(ax: Axes, judged: JudgedRecord, sizes: list[int], values: list[float]) -> None:
    seen = look(judged.case.mode)
    ax.plot(
        sizes,
        values,
        color=seen.colour,
        linestyle=seen.line,
        marker=seen.marker,
        markersize=5,
        markeredgecolor=SURFACE,
        markeredgewidth=0.6,
    )


def _axes(ax: Axes, sizes: list[int], write: Callable[[float], str]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    every = math.ceil(len(sizes) / _MOST_TICKS)
    shown = sizes[::every]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{size:,}" for size in shown]))
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid()


def _seconds(value: float) -> str:
    """Write the tick of a time: ``50 ms``."""
    factor, unit = time_unit(value)
    return f"{value / factor:g} {unit}"


def _count(value: float) -> str:
    """Write the tick of a rate: ``2,500``."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _batch(judged: JudgedRecord) -> int:
    return judged.case.batch_size


def _name(mode: str, precision: str) -> str:
    return mode if precision == "fp32" else f"{mode} {precision}"


def _named(deployment: Deployment, several: bool) -> str:
    where = f" · {deployment.machine.host}" if several and deployment.machine.host else ""
    return f"{deployment_name(deployment)}{where}"
