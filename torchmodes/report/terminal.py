"""The end of a run on the terminal: the answers, every case, and what failed, loudly."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.panel import Panel
from rich.table import Table

from torchmodes.report.data import ReportData
from torchmodes.report.formatting import plural
from torchmodes.report.markdown import render_brief, render_failures
from torchmodes.report.problems import bad, problems

REPORT = Path("reports/report.html")
_BETWEEN = 2
"""Characters between two columns."""


class _WholeNames(TableElement):
    """A table as wide as the terminal; long names go on in the next line, for their ends differ."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                part.expand = True
                room = options.max_width // len(part.columns) - _BETWEEN
                for column in part.columns:
                    words = [word for cell in column.cells for word in str(cell).split()]
                    column.min_width = min(room, max(map(len, words), default=0))
                    column.overflow = "fold"
            yield part


class TerminalMarkdown(Markdown):
    """Markdown as a terminal shows it, nothing of it cut."""

    elements: ClassVar = {**Markdown.elements, "table_open": _WholeNames}


class Terminal(Console):
    """Standard output, whose reader may go (`| head`): that is no fault of what is told."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Print nothing more, instead of ending the process as Rich does."""
        self.quiet = True
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def print_summary(
    data: ReportData,
    console: Console | None = None,
    *,
    started_in: Path | None = None,
    arguments: str = "",
) -> None:
    """Print the summary's Markdown in brief, then failures, then how the run ends.

    The page's path is told from the folder `started_in`, which is the reader's, who may have given
    ``--directory``; by default from the results' own. `arguments` are the words of Snakemake's
    command that say which run it was: what is told to be done next needs them, too.
    """
    console = console or Terminal()
    console.print()
    brief = render_brief(data, width=console.width)
    console.print(TerminalMarkdown(brief))
    if arguments and "make sharpen" in brief:
        told = f"Of this run, give make sharpen also ARGS={shlex.quote(arguments)}"
        console.print(told, markup=False, soft_wrap=True)
    if failed := bad(problems(data)):
        console.print(
            Panel(
                TerminalMarkdown(render_failures(failed)),
                title=f"{len(failed)} failed, wrong or unreadable",
                border_style="bold red",
            )
        )
        console.print(_ending(len(failed), strict=bool(data.config.get("strict"))))
    if REPORT.exists():  # a run that was asked for other files makes none
        console.print(f"The report: {_seen_from(started_in)}", soft_wrap=True)


def _seen_from(folder: Path | None) -> Path:
    """Return the page's path from a folder that it is below, else its whole path."""
    page = REPORT.resolve()
    if folder is None or page.is_relative_to(folder := folder.resolve()):
        return REPORT if folder is None else page.relative_to(folder)
    return page


def _ending(failed: int, *, strict: bool) -> str:
    ends = (
        "strict is true, so rule all ends with exit code 1"
        if strict
        else "with strict: true rule all would end with exit code 1"
    )
    return f"{plural(failed, 'result')} failed, wrong or unreadable; {ends}."
