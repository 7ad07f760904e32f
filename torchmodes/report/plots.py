"""Figures drawn alone, as files, or inlined in a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from torchmodes.report import sentences, style
from torchmodes.report.data import CASES_SHOWN, ReportData
from torchmodes.report.figures import FigureEntry
from torchmodes.report.figures.panels import CASE_ID, message_figure


@dataclass(frozen=True)
class InlineFigure:
    """A figure as it stands in the page."""

    svg: str
    title: str
    caption: str


def render(entry: FigureEntry, content: Any) -> Figure:
    """Draw a figure of a run, or of one profile.

    One that has nothing to show, or not all there is, says so.
    """
    with style.figure_style():
        if not entry.is_in(content):
            return message_figure(
                f"{entry.title}: nothing to show, because {_why_not(entry, content)}."
            )
        excerpt = content.excerpt() if isinstance(content, ReportData) else content
        figure = entry.draw(excerpt)
        if excerpt is not content:
            top = 1 - 0.06 / figure.get_size_inches()[1]
            said = f"{len(excerpt.cases):,} of {len(content.cases):,} cases"
            figure.text(0.988, top, said, ha="right", va="top", size=8, color=style.MUTED)
        return figure


def inline_figures(
    entries: Iterable[FigureEntry], data: ReportData, *, of: str, suffix: str = ""
) -> list[InlineFigure]:
    """Draw those figures of a whole run, or of a deployment, that there are data for."""
    shown = [entry for entry in entries if entry.of == of and entry.is_in(data)]
    return [inline_figure(entry, data, suffix=suffix) for entry in shown]


def inline_figure(entry: FigureEntry, content: Any, *, suffix: str = "") -> InlineFigure:
    """Draw a figure to stand in the page, described by its cases for those who do not see it.

    A figure that stands there several times takes a suffix to its ids.
    """
    cases = content.cases if isinstance(content, ReportData) else ()
    label = sentences.figure_label(entry, cases)
    prefix = f"{entry.name.replace('_', '-')}{suffix}"
    svg = inline_svg(render(entry, content), prefix=prefix, label=label)
    return InlineFigure(svg, entry.title, entry.caption)


def _why_not(entry: FigureEntry, content: Any) -> str:
    if entry.name == "latency" and any(judged.measured for judged in content.cases):
        return f"single samples of more than {CASES_SHOWN} cases are not read"
    return "no result holds it"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style.figure_style():
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "torchmodes"})


def inline_svg(figure: Figure, *, prefix: str, label: str) -> str:
    """Return a figure as an SVG element to stand in a page.

    Its colours become CSS variables, so that they follow the page's theme; its text takes the
    page's font; its ids get a prefix, so that they stay unique beside other figures; what is about
    one case says so as a row of a table does, in ``data-case``. The label is plain text and tells
    those who do not see it what it shows.
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
    svg = re.sub(rf'\sid="{CASE_ID}([^"]*):\d+"', r' data-case="\1"', svg)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(
        r'\sid="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' * (found[1] in used), svg
    )
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    svg = re.sub(r'(\s(?:d|x|y|transform)=")([^"]*)"', lambda p: f'{p[1]}{_shorter(p[2])}"', svg)
    for variable, colour in style.variables().items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r">\s+<", "><", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _shorter(coordinates: str) -> str:
    """Round coordinates to a tenth of a point, and take what a path can do without out of it."""
    rounded = re.sub(r"\s+", " ", re.sub(r"(\.\d)\d+", r"\1", coordinates)).strip()
    # After a move, pairs of numbers are lines by themselves.
    return rounded if "C" in rounded or "Q" in rounded else rounded.replace(" L ", " ")
