"""Dynamic shapes: how often a change of the batch size compiled again, and what that cost."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from torchmodes.report.figures.panels import Panel, bottom_legend, stack
from torchmodes.report.formatting import NOTHING, duration, listing, plural
from torchmodes.report.studies.rows import Told, case_name
from torchmodes.report.style import GRID, PALETTE
from torchmodes.studies.catalogue import DynamicShapes, Shapes

_COLUMNS = (
    *("Case", "Variant", "Last batch", "Graphs", "Recompiles"),
    *("Slowest later call", "Usual call", "Why not"),
)
_LAST_BATCH = {None: "", True: "drop_last", False: "last batch kept"}
_VARIANTS = {
    "automatic": ("blue", "o"),
    "dynamic": ("green", "s"),
    "static": ("vermilion", "^"),
    "mark_dynamic": ("violet", "D"),
}


def tell(result: DynamicShapes) -> Told:
    """Tell how often a change of the batch size compiled again, and what that cost."""
    told: dict[str, list[str]] = {}
    for one in result.cases:
        if one.recompiles is not None and one.drop_last is not True:
            told.setdefault(_name(one), []).append(
                f"{one.variant} compiled again {plural(one.recompiles, 'time')} (slowest call"
                f" after the first {duration(one.spike_s)})"
            )
    text = " ".join(f"{name}, its batch size changing: {listing(t)}." for name, t in told.items())
    return text or "No case ran.", _COLUMNS, tuple(map(_row, result.cases))


def _name(one: Shapes) -> str:
    return f"{one.case.mode} of {one.case.model} ({one.case.task})"


def _row(one: Shapes) -> tuple[str, ...]:
    return (
        _name(one),
        one.variant,
        _LAST_BATCH[one.drop_last],
        NOTHING if one.graphs is None else str(one.graphs),
        NOTHING if one.recompiles is None else str(one.recompiles),
        duration(one.spike_s),
        duration(one.usual_s),
        one.reason or "",
    )


def draw(result: DynamicShapes) -> Figure | None:
    """Draw the seconds of every call in order: what stands out is compilation."""
    lines = [one for one in result.cases if one.calls and one.drop_last is not True]
    if not lines:
        return None
    cases = sorted({one.identity for one in lines})
    figure, axes = stack([Panel(case_name(case), 2.0) for case in cases], left=0.85, right=0.2)
    for ax, case in zip(axes, cases, strict=True):
        for one in (shapes for shapes in lines if shapes.identity == case):
            colour, marker = _VARIANTS[one.variant]
            seconds = [call.seconds for call in one.calls or []]
            (line,) = ax.plot(range(1, len(seconds) + 1), seconds, color=PALETTE[colour])
            line.set(marker=marker, markersize=3.5, linewidth=1)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: duration(value))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(
            "call (an epoch's last batch is smaller)"
            if case.task == "training"
            else f"call (batch sizes 1 to {case.batch_size}, twice)"
        )
        ax.set_ylabel("seconds")
        ax.grid(axis="y", color=GRID)
    handles = [
        Line2D([], [], color=PALETTE[colour], marker=marker, markersize=4, label=variant)
        for variant, (colour, marker) in _VARIANTS.items()
    ]
    bottom_legend(figure, handles, columns=4)
    return figure
