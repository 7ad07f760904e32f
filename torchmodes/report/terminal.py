"""The end of a run on the terminal: the answers, every case, and what failed, loudly."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from torchmodes.report import sentences
from torchmodes.report.data import ReportData
from torchmodes.report.formatting import duration, estimate, plural, ratio_range
from torchmodes.report.problems import Problem, bad, problems
from torchmodes.report.recommendation import (
    ModeRecommendation,
    group_cases,
    recommend,
    statistics_of,
)
from torchmodes.report.verdicts import JudgedRecord

REPORT = Path("reports/report.html")

_STYLES = {
    "faster": "green",
    "slower": "dark_orange",
    "same": "default",
    "unresolved": "yellow",
    "no effect": "yellow",
    "unsupported": "dim",
    "failed": "bold red",
    "wrong": "bold red",
}


def print_summary(data: ReportData, console: Console | None = None) -> None:
    """Print the answer and a table for each group, then failures, then how the run ends.

    Parameters
    ----------
    data
        What `torchmodes.report.data.load_report_data` returns.
    console
        Where to print; by default standard output.
    """
    console = console or Console(highlight=False)
    groups = group_cases(data.cases)
    for group in groups:
        console.print()
        console.print(_group_table(recommend(group), several=len(data.machines) > 1))
    if not groups:
        console.print("No case was benchmarked.")
    console.print()
    console.print(_counts(data))
    if (busy := sentences.without_verdict(data.cases)) is not None:
        console.print(Text(busy, "bold yellow"))
    failed = bad(problems(data))
    if failed:
        console.print(_failures(failed))
        console.print(_ending(len(failed), strict=bool(data.config.get("strict"))))
    if REPORT.exists():  # a run that was asked for other files makes none
        console.print(f"The report: {REPORT}")


def _ending(failed: int, *, strict: bool) -> str:
    ends = (
        "strict is true, so rule all ends with exit code 1"
        if strict
        else "with strict: true rule all would end with exit code 1"
    )
    return f"{plural(failed, 'result')} failed, wrong or unreadable; {ends}."


def _group_table(recommendation: ModeRecommendation, *, several: bool) -> Table:
    group = recommendation.group
    where = f" on {group.deployment.machine}" if several else ""
    title = Text(
        f"{sentences.deployment(group.deployment)} · batch {group.batch_size:,}{where}", "bold"
    )
    table = Table(
        title=title,
        caption=Text(f"{sentences.headline(recommendation)}. {sentences.reason(recommendation)}"),
        caption_style="default",
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("mode", overflow="fold", min_width=14)
    table.add_column("result", no_wrap=True)
    for name in ("speed-up", "95 % interval", "latency", "cold start"):
        table.add_column(name, justify="right", no_wrap=True)
    for judged in group.cases:
        table.add_row(*_row(judged))
    return table


def _row(judged: JudgedRecord) -> list[Text]:
    verdict = sentences.verdict(judged)
    sign = f"{sentences.SIGNS[verdict]} " if verdict in sentences.SIGNS else ""
    cells = [Text(judged.name), Text(f"{sign}{verdict}", _STYLES.get(verdict, "default"))]
    if not judged.measured:
        return cells
    statistics = statistics_of(judged)
    return [
        *cells,
        Text(estimate(statistics.speed_up)),
        Text(ratio_range(statistics.speed_up)),
        Text(duration(statistics.candidate.median_s)),
        Text(duration(judged.cold_s)),
    ]


def _counts(data: ReportData) -> Text:
    return Text(f"{sentences.counts(data.cases, unreadable=len(data.unreadable_cases))}.")


def _failures(failed: list[Problem]) -> Panel:
    told = Text("\n\n").join(_failure(problem) for problem in failed)
    return Panel(told, title=f"{len(failed)} failed, wrong or unreadable", border_style="bold red")


def _failure(problem: Problem) -> Text:
    told = Text(problem.case, "bold")
    told.append(f"\n  {problem.kind}: {problem.reason}", "default")
    if problem.remedy:
        told.append(f"\n  {problem.remedy}", "default")
    return told
