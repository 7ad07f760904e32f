"""Thread scaling: what several threads bring over one."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from torchmodes.report.figures.panels import Panel, bottom_legend, stack
from torchmodes.report.formatting import (
    NOTHING,
    TOO_NOISY,
    duration,
    estimate,
    listing,
    ratio,
    ratio_range,
)
from torchmodes.report.studies.rows import Told, case_name, signs
from torchmodes.report.style import MUTED
from torchmodes.studies.catalogue import Threads, ThreadScaling


def tell(result: ThreadScaling) -> Told:
    """Tell what several threads bring over one."""
    rows = [(str(one.identity), *cells) for one in result.cases for cells in _cells(one)]
    told = [_gain(one) for one in result.cases if one.points and one.points[-1].threads > 1]
    text = f"{listing(told)}." if told else "No case was measured with several threads."
    columns = ("Case", "Threads", "Latency", "Over one thread", "95 % interval")
    return text, columns, tuple(rows)


def _cells(one: Threads) -> list[tuple[str, ...]]:
    return [
        (
            str(point.threads),
            duration(point.latency_s),
            estimate(point.speed_up),
            ratio_range(point.speed_up),
        )
        for point in one.points
    ] or [(NOTHING, NOTHING, NOTHING, one.reason or "")]


def _gain(one: Threads) -> str:
    case, last = one.case, one.points[-1]
    name = f"{case.mode} of {case.model} ({case.task}, batch {case.batch_size:,})"
    if last.speed_up.says_nothing:
        return f"{name} was {TOO_NOISY}"
    return f"{name} runs {ratio(last.speed_up.estimate)} as fast with {last.threads} as with one"


def draw(result: ThreadScaling) -> Figure | None:
    """Draw the speed-up over one thread against the number of threads."""
    lines = {
        case_name(one.identity): points
        for one in result.cases
        if (points := [point for point in one.points if not point.speed_up.says_nothing])
    }
    if not lines:
        return None
    counts = sorted({point.threads for points in lines.values() for point in points})
    figure, (ax,) = stack([Panel("speed-up over one thread", 2.2)], left=0.7, right=0.2)
    handles = [Line2D([], [], color=MUTED, linestyle=(0, (3, 2)), label="ideal")]
    ax.plot(counts, counts, color=MUTED, linestyle=(0, (3, 2)), linewidth=1)
    for (name, points), (colour, marker) in zip(lines.items(), signs(), strict=False):
        at, speed_ups = [p.threads for p in points], [p.speed_up.estimate for p in points]
        ax.plot(at, speed_ups, color=colour, marker=marker, markersize=5)
        for point in points:
            low, high = point.speed_up.low, point.speed_up.high
            if low is not None and high is not None:
                ax.plot([point.threads] * 2, [low, high], color=colour, linewidth=2)
        handles.append(Line2D([], [], color=colour, marker=marker, label=name))
    ax.set_xticks(counts)
    ax.set_xlabel("threads")
    ax.set_ylabel("times faster")
    ax.set_ylim(bottom=0)
    ax.grid()
    bottom_legend(figure, handles, columns=2)
    return figure
