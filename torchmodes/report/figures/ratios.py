"""Ratios with their intervals: an axis that shows what lies near 1 and far off, marks, shades."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from torchmodes.report.figures.panels import ticks, value_beside
from torchmodes.report.formatting import ratio_digits, speed_up
from torchmodes.report.style import INK, SURFACE, look
from torchmodes.results.records import Interval

_NEAR = float(np.log(1.05))
"""Up to 5 % off, distances are drawn alike; beyond, ever more closely together."""
_ROUND = (
    *(1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02),
    *(1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3, 1e4),
)
_LEAST_GAP = 0.14
"""Between two ticks, as a share of the axis."""
_LABEL = 0.4
"""Inches that a tick and its label need, on an axis of which that is more."""
LEAST_SPAN = float(np.log(1.02))
SMALL_TICKS = 0.45
"""Inches beside a small multiple for the numbers of its axis."""
_FAR = 2.5
_AIR = 0.04
"""Beyond what is shown, as a share of the axis."""


def ratio_limits(intervals: Iterable[Interval]) -> tuple[float, float]:
    """Return limits that hold 1, every estimate, and the intervals as far as they tell something.

    One interval of a hundredth to a hundred would squeeze all others: one that says nothing is left
    out, and a bound may lie beyond the limits where it is further than `_FAR` from 1 and from every
    estimate.
    """
    intervals = [interval for interval in intervals if not interval.says_nothing]
    estimates = [1.0, *(i.estimate for i in intervals if i.estimate > 0)]
    nearest, furthest = min(estimates) / _FAR, max(estimates) * _FAR
    bounds = [v for i in intervals for v in (i.low, i.high) if v is not None and v > 0]
    values = [*estimates, *(min(max(bound, nearest), furthest) for bound in bounds)]
    low, high = min([0.95, *values]), max([1.05, *values])
    air = (high / low) ** 0.06
    return low / air, high * air


def ratio_scale(ratios: Any) -> NDArray[np.float64]:
    """Return where ratios stand on an axis: evenly near 1, logarithmically and closer far from it.

    So what counts as no effect, a hundredth, stays visible where one mode is three times as fast.
    """
    return np.arcsinh(np.log(np.maximum(ratios, 1e-9)) / _NEAR)


def _ratio_at(places: Any) -> NDArray[np.float64]:
    """Return the ratios that stand at places of an axis: the inverse of `ratio_scale`."""
    return np.exp(np.sinh(places) * _NEAR)


def ratio_axis(ax: Axes, limits: tuple[float, float]) -> None:
    """Make the horizontal axis one of ratios, with as many round ones as there is room for."""
    ax.set_xscale("function", functions=(ratio_scale, _ratio_at))
    low, high = ratio_scale(limits)
    air = _AIR * (high - low)
    ax.set_xlim(*_ratio_at(np.array([low - air, high + air])))
    inches = ax.get_window_extent().width / ax.figure.dpi
    chosen = _ticks(limits, gap=max(_LEAST_GAP, _LABEL / inches))
    ticks(ax.xaxis, FixedLocator(chosen), lambda ratio: f"{ratio:g}")


def _ticks(limits: tuple[float, float], *, gap: float) -> list[float]:
    """Choose round ratios within limits, outwards from 1, that stand a share of the axis apart."""
    low, high = ratio_scale(limits)
    gap *= high - low
    chosen: list[float] = []
    for ratio in sorted(_ROUND, key=lambda ratio: abs(float(ratio_scale(ratio)))):
        place = float(ratio_scale(ratio))
        apart = all(abs(place - float(ratio_scale(other))) >= gap for other in chosen)
        if low <= place <= high and apart:
            chosen.append(ratio)
    return sorted(chosen)


def small_ratio_axis(ax: Axes, middle: float, *, span: float) -> None:
    """Give a small multiple three ratios on its left: a middle, and one to either side.

    The middle and the span are logarithms; the span is `LEAST_SPAN` at the least, so that noise of
    a thousandth does not fill the axis.
    """
    reach = max(LEAST_SPAN, span)
    shown = np.exp([middle - reach, middle, middle + reach]).tolist()
    ax.set_yscale("log")
    ax.set_ylim(*np.exp([middle - 1.4 * reach, middle + 1.4 * reach]))
    ticks(ax.yaxis, FixedLocator(shown), ratio_digits)
    ax.tick_params(axis="y", labelsize=7)


def ratio_mark(ax: Axes, row: float, ratio: Interval, *, mode: str, outcome: str) -> None:
    """Mark a ratio in its mode's look, filled where it is faster or slower, and write it out."""
    seen, settled = look(mode), outcome in ("faster", "slower")
    if not ratio.says_nothing:
        point = seen.point(filled=settled)
        ax.plot(ratio.estimate, row, **point, markersize=5.5, markeredgewidth=1.4)
    value_beside(ax, row, f"{speed_up(ratio)} {outcome}", strong=settled, size=7.5)


def ratio_bars(
    ax: Axes, ratios: Sequence[Interval], modes: Sequence[str], *, first: int = 0
) -> None:
    """Draw the interval of every row from one as a bar; one that is open ends at the axis."""
    low, high = ax.get_xlim()
    ax.hlines(
        range(first, first + len(ratios)),
        [ratio.low or low for ratio in ratios],
        [ratio.high or high for ratio in ratios],
        colors=[look(mode).colour for mode in modes],
        linewidth=8,
        alpha=0.4,
    )


def shade_rows(ax: Axes, widths: Sequence[float | None], colour: str) -> None:
    """Shade each row's relative effect to either side of 1: rows that are alike as one."""
    for width, rows in groupby(range(len(widths)), key=widths.__getitem__):
        if width:
            alike = list(rows)
            top, bottom = alike[0] - 0.5, alike[-1] + 0.5
            left, right = 1 / (1 + width), 1 + width
            x, y = [left, right, right, left], [top, top, bottom, bottom]
            ax.fill(x, y, color=colour, linewidth=0)


def settled_handles() -> list[Line2D]:
    """Return the legend entries of what is settled and what is open."""
    return [
        Line2D([], [], color=INK, marker="o", markersize=5.5, markerfacecolor=face, label=label)
        for face, label in ((INK, "faster or slower"), (SURFACE, "same or unresolved"))
    ]
