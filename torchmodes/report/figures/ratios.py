"""Ratios with their intervals: limits that hold them, ticks at round numbers, marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from torchmodes.report.figures.panels import value_beside
from torchmodes.report.formatting import estimate, ratio_range
from torchmodes.report.style import INK, SURFACE, look
from torchmodes.results.records import Interval

_RATIO_STEPS: tuple[tuple[float, ...], ...] = (
    tuple(round(0.9 + 0.02 * i, 2) for i in range(11)),
    tuple(round(0.7 + 0.05 * i, 2) for i in range(15)),
    tuple(round(0.5 + 0.1 * i, 1) for i in range(16)),
    tuple(round(0.4 + 0.2 * i, 1) for i in range(9)),
    (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0),
    (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
    (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0),
)
"""Round ratios, from fine to coarse."""
_MOST_TICKS = 5
_FAR = 2.5


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


def ratio_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Put round ratios on a logarithmic axis, as many as there is room for."""
    inside = [[r for r in step if limits[0] <= r <= limits[1]] for step in _RATIO_STEPS]
    reaching = [step[0] <= limits[0] * 1.1 and step[-1] >= limits[1] / 1.1 for step in _RATIO_STEPS]
    chosen = next(
        (
            ticks
            for ticks, reaches in zip(inside, reaching, strict=True)
            if reaches and len(ticks) <= _MOST_TICKS
        ),
        inside[-1],
    )
    axis.set_major_locator(FixedLocator(chosen))
    axis.set_major_formatter(FixedFormatter([f"{ratio:g}" for ratio in chosen]))
    axis.set_minor_locator(NullLocator())


def ratio_mark(ax: Axes, row: float, ratio: Interval, *, mode: str, outcome: str) -> None:
    """Mark a ratio in its mode's look, filled where it is faster or slower, and write it out."""
    seen, settled = look(mode), outcome in ("faster", "slower")
    ax.plot(
        [ratio.estimate],
        [row],
        marker=seen.marker,
        color=seen.colour,
        markersize=5.5,
        markerfacecolor=seen.colour if settled else SURFACE,
        markeredgecolor=seen.colour,
        markeredgewidth=1.4,
    )
    value_beside(ax, row - 0.2, estimate(ratio), strong=settled)
    value_beside(ax, row + 0.22, f"{ratio_range(ratio)} {outcome}", size=7.5)


def ratio_bars(ax: Axes, ratios: Sequence[Interval], modes: Sequence[str]) -> None:
    """Draw every row's interval as a bar; one that is open ends at the axis."""
    low, high = ax.get_xlim()
    ax.hlines(
        range(len(ratios)),
        [ratio.low or low for ratio in ratios],
        [ratio.high or high for ratio in ratios],
        colors=[look(mode).colour for mode in modes],
        linewidth=12,
        alpha=0.4,
    )


def shade_rows(ax: Axes, widths: Sequence[float | None], colour: str) -> None:
    """Shade each row's relative effect to either side of 1: rows that are alike as one."""
    for width, rows in groupby(range(len(widths)), key=widths.__getitem__):
        if width:
            alike = list(rows)
            top, bottom = alike[0] - 0.5, alike[-1] + 0.5
            left, right = 1 / (1 + width), 1 + width
            ax.fill(
                [left, right, right, left],
                [top, top, bottom, bottom],
                color=colour,
                linewidth=0,
            )


def settled_handles() -> list[Line2D]:
    """Return the legend entries of what is settled and what is open."""
    return [
        Line2D([], [], color=INK, marker="o", markersize=5.5, markerfacecolor=face, label=label)
        for face, label in ((INK, "faster or slower"), (SURFACE, "same or unresolved"))
    ]
