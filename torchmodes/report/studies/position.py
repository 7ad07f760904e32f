"""Position: how long a decode step takes as the cache fills."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from torchmodes.report.figures.panels import Panel, bottom_legend, stack
from torchmodes.report.formatting import (
    NOTHING,
    duration,
    estimate,
    listing,
    ratio_digits,
    ratio_range,
)
from torchmodes.report.studies.rows import Told, case_name, signs
from torchmodes.report.style import BASELINE
from torchmodes.studies.catalogue import Position, Positions


def tell(result: Position) -> Told:
    """Tell how much longer the last step takes than the first."""
    rows = [(str(one.identity), *cells) for one in result.cases for cells in _cells(one)]
    told = [_growth(one) for one in result.cases if len(one.points) > 1]
    text = f"{listing(told)}." if told else "No case was measured at several positions."
    columns = ("Case", "Position", "Step", "Eager beside it", "Speed-up", "95 % interval")
    return text, columns, tuple(rows)


def _cells(one: Positions) -> list[tuple[str, ...]]:
    return [
        (
            str(point.position),
            duration(point.latency_s),
            duration(point.eager_s),
            estimate(point.speed_up),
            ratio_range(point.speed_up),
        )
        for point in one.points
    ] or [(NOTHING, NOTHING, NOTHING, NOTHING, one.reason or "")]


def _growth(one: Positions) -> str:
    first, last = one.points[0], one.points[-1]
    mode, eager = last.latency_s / first.latency_s, last.eager_s / first.eager_s
    return (
        f"a step of {one.case.mode} of {one.case.model} (batch {one.case.batch_size:,}) takes"
        f" {ratio_digits(mode)} times as long at position {last.position} as at"
        f" {first.position}, one of eager beside it {ratio_digits(eager)} times"
    )


def draw(result: Position) -> Figure | None:
    """Draw the time of a step against its position; eager's, beside each mode, is dashed."""
    measured = [one for one in result.cases if one.points]
    if not measured:
        return None
    figure, (ax,) = stack([Panel("time of a decode step", 2.2)], left=0.7, right=0.2)
    handles = [Line2D([], [], color=BASELINE, linestyle=(0, (3, 2)), label="eager beside it")]
    for one, (colour, marker) in zip(measured, signs(), strict=False):
        at = [point.position for point in one.points]
        ax.plot(at, [p.latency_s for p in one.points], color=colour, marker=marker, markersize=5)
        ax.plot(at, [p.eager_s for p in one.points], color=BASELINE, linestyle=(0, (3, 2)))
        label = case_name(one.identity)
        handles.append(Line2D([], [], color=colour, marker=marker, label=label))
    ax.set_xlabel("tokens in the cache")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: duration(value))
    ax.set_ylim(bottom=0)
    ax.grid()
    bottom_legend(figure, handles, columns=2)
    return figure
