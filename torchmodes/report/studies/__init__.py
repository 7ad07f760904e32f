"""Studies of a run, each as a finding in words, a table and a figure.

A module of a study's name has ``tell`` and ``draw``; `torchmodes.studies.catalogue` registers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from matplotlib.figure import Figure

from torchmodes.report import style
from torchmodes.report.data import ReportData, Study
from torchmodes.report.figures.panels import message_figure
from torchmodes.report.plots import inline_svg
from torchmodes.studies.catalogue import STUDIES


@dataclass(frozen=True)
class StudyFinding:
    """What a study found, as the page shows it: a sentence or two, a figure and a table."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    svg: str


def findings(data: ReportData) -> list[StudyFinding]:
    """Return what every study of a run found, judged among all of its cases."""
    verdicts = {judged.case: judged.verdict for judged in data.cases}
    return [_finding(Study(study.name, study.result.judged(verdicts))) for study in data.studies]


def draw_study(study: Study) -> Figure:
    """Draw what a study found; one that has nothing to show says so."""
    with style.figure_style():
        drawn = import_module(STUDIES[study.name].page).draw(study.result)
        return drawn or message_figure("No case of this study ran.")


def _finding(study: Study) -> StudyFinding:
    entry = STUDIES[study.name]
    text, columns, rows = import_module(entry.page).tell(study.result)
    svg = inline_svg(
        draw_study(study),
        prefix=f"study-{study.name.replace('_', '-')}",
        label=f"{entry.title}. {text}",
    )
    return StudyFinding(entry.title, text, columns, rows, svg)
