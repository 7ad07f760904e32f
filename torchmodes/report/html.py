"""The report as one page: self-contained, offline, for screen and paper."""

from __future__ import annotations

from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from torchmodes.report import formatting, sentences, style
from torchmodes.report.data import ReportData
from torchmodes.report.environments import made_with
from torchmodes.report.sections import SECTIONS, Facets
from torchmodes.results.writing import write_atomically

TEMPLATES = Path(__file__).parent / "templates"


def write_report(data: ReportData, path: Path) -> None:
    """Write the report; links to traces are relative to where it lies."""
    write_atomically(path, render_report(data, path=path))


def render_report(data: ReportData, *, path: Path = Path("reports/report.html")) -> str:
    """Return the report as HTML, as it lies at a path: the same data give the same text."""
    listed = [
        (section, content)
        for section in SECTIONS
        if (content := section.content(data, path)) is not None
    ]
    return render_template(
        "base.html.j2",
        data=data,
        shown=len(data.excerpt().cases),
        sections=listed,
        facets=Facets.of([judged.case for judged in data.cases]),
        made_with=made_with(data.conditions),
        finished_at=max((r.finished_at for r in data.records), default=None),
    )


def render_template(name: str, **content: Any) -> str:
    """Return a page made from a template, with what every page needs: style, script, words."""
    template = _templates().get_template(name)
    return template.render(
        sentences=sentences,
        formatting=formatting,
        colour_of=_colour_of,
        svg=Markup,
        slash=Markup("/<wbr>"),
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),  # noqa: S704
        **content,
    )


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(getmembers(formatting, isfunction))
    return environment


def _colour_of(mode: str) -> str:
    """Return the CSS variable of a mode's colour."""
    colours = {colour: name for name, colour in style.variables().items()}
    return f"var(--{colours[style.look(mode).colour]})"
