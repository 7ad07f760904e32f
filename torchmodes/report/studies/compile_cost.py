"""Compile cost: a cold start beside a warm one."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    label_rows,
    label_width,
    stack,
    value_beside,
)
from torchmodes.report.formatting import duration, listing, plural, ratio
from torchmodes.report.studies.rows import ROW, Told, case_name
from torchmodes.report.style import MUTED, look
from torchmodes.studies.catalogue import CompileCost, Start


def tell(result: CompileCost) -> Told:
    """Tell what a second start costs when the first has filled the compile caches."""
    rows = tuple(
        (
            str(start.identity),
            duration(start.cold_s),
            duration(start.warm_s),
            ratio(start.cold_s / start.warm_s if start.cold_s and start.warm_s else None),
            start.reason or "",
        )
        for start in result.cases
    )
    twice = [_said(start) for start in result.cases if start.cold_s and start.warm_s]
    text = (
        f"With the compile cache of a first start, {listing(twice)} (one start each)."
        if twice
        else f"None of {plural(len(rows), 'case')} started twice."
    )
    return text, ("Case", "Cold start", "Warm start", "Cold / warm", "Why not"), rows


def draw(result: CompileCost) -> Figure | None:
    """Draw two bars a case: a cold start and a warm one."""
    starts = [start for start in result.cases if start.cold_s and start.warm_s]
    if not starts:
        return None
    labels = [case_name(start.identity) for start in starts]
    panel = Panel("seconds until the first result", ROW * len(starts))
    figure, (ax,) = stack([panel], left=label_width(labels), right=0.95)
    for y, start in enumerate(starts):
        colour = look(start.case.mode).colour
        for seconds, shift, alpha in ((start.cold_s, -0.19, 1.0), (start.warm_s, 0.19, 0.45)):
            assert seconds is not None
            ax.barh(y + shift, seconds, height=0.34, color=colour, alpha=alpha)
            value_beside(ax, y + shift, duration(seconds), size=7.5)
    ax.set_xlim(left=0)
    label_rows(ax, labels)
    ax.set_xlabel("preparation and first call, s")
    handles = [
        Patch(facecolor=MUTED, label="empty compile cache"),
        Patch(facecolor=MUTED, alpha=0.45, label="filled by a first start"),
    ]
    bottom_legend(figure, handles, columns=2)
    return figure


def _said(start: Start) -> str:
    case = start.identity
    return (
        f"{case.mode} of {case.model} ({case.task}, batch {case.batch_size:,}) starts in"
        f" {duration(start.warm_s)} instead of {duration(start.cold_s)}"
    )
