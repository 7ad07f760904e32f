"""The figures by name, drawn alone or inlined in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from torchmodes.report import style
from torchmodes.report.data import CASES_SHOWN, ReportData
from torchmodes.report.figures.batches import draw_batches, has_batches
from torchmodes.report.figures.comparison import draw_latency, draw_speed_up, draw_throughput
from torchmodes.report.figures.cost import costed, draw_break_even, draw_cost, paying
from torchmodes.report.figures.heat import draw_heat, heat_maps
from torchmodes.report.figures.losses import draw_losses, trained
from torchmodes.report.figures.panels import message_figure
from torchmodes.report.recommendation import group_cases
from torchmodes.results.records import Record


@dataclass(frozen=True)
class Plot:
    """One figure: its title, how it is drawn, and whether the data hold anything to draw."""

    title: str
    draw: Callable[[ReportData], Figure]
    has_data: Callable[[ReportData], bool]


@dataclass(frozen=True)
class InlineFigure:
    """A figure as it stands in the page."""

    svg: str
    title: str
    caption: str


def _any_measured(data: ReportData) -> bool:
    return any(judged.measured for judged in data.cases)


def _any_samples(data: ReportData) -> bool:
    return any(judged.measured and _quads(judged.record) for judged in data.cases)


def _quads(record: Record) -> int:
    return 0 if record.samples is None else len(record.samples.counted)


PLOTS: dict[str, Plot] = {
    "speed_up": Plot("Speed-up over eager", draw_speed_up, _any_measured),
    "latency": Plot("Distribution of latencies", draw_latency, _any_samples),
    "throughput": Plot("Items per second", draw_throughput, _any_measured),
    "heat_map": Plot("Modes by models", draw_heat, lambda data: bool(heat_maps(data))),
    "batches": Plot("Latency and throughput against batch size", draw_batches, has_batches),
    "cost": Plot(
        "Cold start and memory", draw_cost, lambda data: any(map(costed, group_cases(data.cases)))
    ),
    "break_even": Plot(
        "Break-even", draw_break_even, lambda data: any(map(paying, group_cases(data.cases)))
    ),
    "losses": Plot("Loss curves", draw_losses, lambda data: bool(trained(data))),
}


def render(name: str, data: ReportData) -> Figure:
    """Draw a figure; one that has nothing to show, or not all there is, says so.

    Raises
    ------
    ValueError
        When no figure has that name.
    """
    if name not in PLOTS:
        raise ValueError(f"no figure is called {name!r}; there are {', '.join(PLOTS)}")
    plot = PLOTS[name]
    with style.figure_style():
        if not plot.has_data(data):
            why = "no result holds it"
            if plot.has_data is _any_samples and _any_measured(data):
                why = f"single samples of more than {CASES_SHOWN} cases are not read"
            return message_figure(f"{plot.title}: nothing to show, because {why}.")
        excerpt = data.excerpt()
        figure = plot.draw(excerpt)
        if excerpt is not data:
            note = f"{len(excerpt.cases):,} of {len(data.cases):,} cases"
            style.note(figure, note)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same bytes."""
    style.save(figure, Path(path))


def inline_svg(figure: Figure, *, prefix: str, label: str) -> str:
    """Return a figure as an SVG element to stand in a page.

    Its colours become CSS variables, so that they follow the page's theme; its text takes the
    page's font; its ids get a prefix, so that they stay unique beside other figures.

    Parameters
    ----------
    figure
        What to inline.
    prefix
        Of every id: letters, digits, ``-``.
    label
        What the figure shows, for those who do not see it; plain text.
    """
    buffer = io.StringIO()
    with style.figure_style():
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)  # the page's own font then applies
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(
        r'\sid="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' * (found[1] in used), svg
    )
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    svg = re.sub(r'(\s(?:d|x|y|transform)=")([^"]*)"', lambda p: f'{p[1]}{_shorter(p[2])}"', svg)
    for variable, colour in style.variables().items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r">\s+<", "><", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_escaped(label)}" ', 1)


def _shorter(coordinates: str) -> str:
    """Round coordinates to a tenth of a point, and take what a path can do without out of it."""
    rounded = re.sub(r"\s+", " ", re.sub(r"(\.\d)\d+", r"\1", coordinates)).strip()
    if "C" in rounded or "Q" in rounded:
        return rounded
    return rounded.replace(" L ", " ")  # after a move, pairs of numbers are lines by themselves


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
