"""Time against memory and against the start: which modes no other beats in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    groups_with,
    names_at_points,
    point_names_width,
    stack,
    ticks,
)
from torchmodes.report.formatting import size_unit, time_tick
from torchmodes.report.style import MUTED, look
from torchmodes.report.verdicts import JudgedRecord

_HEIGHT = 1.9
_FEWEST = 2


@dataclass(frozen=True)
class Price:
    """What a mode costs beside its time: its name on the axis, and its amount, None if unknown."""

    name: str
    label: str
    amount: Callable[[JudgedRecord], float | None]


MEMORY = Price("peak memory", "peak memory above the start", lambda judged: judged.memory_bytes)
START = Price(
    "cold start", "cold start, until the first result (log scale)", lambda judged: judged.cold_s
)


def weighed(data: ReportData) -> list[tuple[str, list[JudgedRecord], Price]]:
    """Return each group's title and cases for each price that is known of two of them."""

    def shown(judged: JudgedRecord) -> bool:
        runs = judged.competes or (judged.case.is_baseline and judged.measured)
        return runs and not judged.speed_up.says_nothing

    return [
        (f"{title}: {price.name}", priced, price)
        for title, cases in groups_with(data, shown)
        for price in (MEMORY, START)
        if len(priced := list(filter(price.amount, cases))) >= _FEWEST
    ]


def draw_trade_off(data: ReportData) -> Figure:
    """Draw each mode's time, as a share of eager's beside it, against its memory and its start."""
    drawn = weighed(data)
    names = point_names_width(c.name for _, cases, _ in drawn for c in cases)
    panels = [Panel(title, _HEIGHT) for title, _, _ in drawn]
    figure, axes = stack(panels, left=0.75, right=names)
    for ax, (_, cases, price) in zip(axes, drawn, strict=True):
        _panel(ax, cases, price)
    return figure


def front(cases: Sequence[JudgedRecord], price: Price) -> list[JudgedRecord]:
    """Return the Pareto front: cases that no other beats in time and price, by price."""
    found: list[JudgedRecord] = []
    for judged in sorted(cases, key=lambda c: (price.amount(c) or 0, c.time_share)):
        if not found or judged.time_share < found[-1].time_share:
            found.append(judged)
    return found


def _panel(ax: Axes, cases: list[JudgedRecord], price: Price) -> None:
    best = front(cases, price)
    amounts = [price.amount(c) or 0.0 for c in cases]
    if price is START:
        ax.set_xscale("log")
        ax.set_xlim(min(amounts) / 1.6, max(amounts) * 1.6)
        ticks(ax.xaxis, LogLocator(10, numticks=6), time_tick)
    else:
        ax.set_xlim(0, 1.06 * max(amounts))
        factor, unit = size_unit(max(amounts))
        ticks(ax.xaxis, MaxNLocator(5), lambda value: f"{value / factor:g} {unit}")
    ax.set_ylim(0, 115 * max(c.time_share for c in cases))
    ax.plot(
        [price.amount(c) or 0.0 for c in best],
        [100 * c.time_share for c in best],
        color=MUTED,
        linewidth=1,
        drawstyle="steps-post",
    )
    for judged, x in zip(cases, amounts, strict=True):
        seen, speed_up = look(judged.case.mode), judged.speed_up
        if speed_up.low and speed_up.high and not judged.case.is_baseline:
            ax.plot([x, x], [100 / speed_up.high, 100 / speed_up.low], color=seen.colour, alpha=0.4)
        ax.plot(x, 100 * judged.time_share, **seen.point(filled=judged in best), markersize=7)
    ticks(ax.yaxis, MaxNLocator(5), lambda value: f"{value:.0f} %")
    ax.grid()
    ax.set_ylabel("time, eager = 100 %", labelpad=1)
    ax.set_xlabel(price.label)
    points = [(x, 100 * c.time_share) for c, x in zip(cases, amounts, strict=True)]
    names_at_points(ax, [c.name for c in cases], points)
