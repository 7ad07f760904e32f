"""The report in short as Markdown: to read in a terminal or to paste into an issue."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from torchmodes.report import sentences
from torchmodes.report.answer_table import answer_table
from torchmodes.report.case_tables import speed_columns
from torchmodes.report.data import CASES_SHOWN, ReportData
from torchmodes.report.formatting import NOTHING, duration, figure, size
from torchmodes.report.hardware import advice_by_hardware, limit
from torchmodes.report.lengths import BY_CASE, lengths_found
from torchmodes.report.problems import Problem, all_well, by_reason, problems
from torchmodes.report.recommendation import ModeRecommendation, group_cases, recommend
from torchmodes.report.sections import answers, case_warnings
from torchmodes.report.unresolved import Unresolved, headline, unresolved
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.writing import write_atomically

_JOINER = "\N{WORD JOINER}"
_LIVE = re.compile(
    r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)"  # addresses
    r"|(?<=:)(?=[\w+-]+[:/])|(?<=#)(?=\d)",  # emoji, icons; issues
    re.IGNORECASE,
)
_ARROW = re.compile(r"(?<!\S)([<>~-])(->|[->=])(?!\S)")
_SPECIAL = re.compile(
    r"[\\`*\[\]$~|]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # between letters and digits it is a letter
    rf"|:(?={_JOINER}?[a-zA-Z])"  # directives
    r"|^[#>+=-]"  # blocks
)
_BREAK = "\\\n"
_MOST_OPEN = 5
_WIDE = {"start, cold / warm": 100, "pays back after": 140, "memory": 160}
"""Columns of the answers that take a terminal of so many characters."""
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_HOW_TO_OPEN = (
    "The whole report is `reports/report.html`: one file, no network needed. Open it with"
    " `xdg-open reports/report.html` (Linux), `open reports/report.html` (macOS), or a browser."
)


def write_summary(data: ReportData, path: Path) -> None:
    """Write the summary."""
    write_atomically(path, render_summary(data))


def render_summary(data: ReportData) -> str:
    """Return the summary as Markdown: the same data give the same text."""
    shown, found = data.excerpt(), unresolved(data)
    hardware = [markdown_text(f"{one.title}: {one.said}") for one in advice_by_hardware(data)]
    warnings = [
        f"{markdown_text(text)}: {', '.join(map(markdown_code, cases))}"
        for text, cases in case_warnings(data)
    ]
    parts = [
        "# Which PyTorch execution mode to ship",
        f"{_counts(data)} {_measured_on(data)}",
        ""
        if shown is data
        else f"Shown are {len(shown.cases):,} of them, those of the first models;"
        " `results/summary.csv` holds every case.",
        render_answers(data),
        f"**{headline(found)}**" if found else "",
        *map(markdown_text, answer_table(data).notes),
        *_answers(data, shown),
        *_unresolved(found),
        *markdown_list("Advice by hardware", hardware),
        "## All cases",
        _case_table(shown.cases) if shown.cases else "No case was benchmarked.",
        *_lengths(shown),
        *_trainings(data),
        "## What was not measured",
        _problems(data),
        *markdown_list("Warnings", warnings),
        "## The whole report",
        _HOW_TO_OPEN,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_brief(data: ReportData, *, width: int) -> str:
    """Return the answers as Markdown for a terminal: one table, what is open, what was measured.

    The table has the columns that there is room for in lines of `width` characters.
    """
    found = unresolved(data)
    open_ones = [
        f"{markdown_text(one.case.name)} on {markdown_text(one.case.case.model)}:"
        f" {markdown_text(one.meaning)}{_BREAK}{markdown_code(one.command)}"
        for one in found
        if one.command is not None and one.case.no_verdict is None  # those are told once, below
    ]
    busy = sentences.without_verdict(data.cases)
    parts = [
        render_answers(data, without=[h for h, needed in _WIDE.items() if width < needed]),
        "\n".join(f"- {markdown_text(said)}" for said in _on_your_data(data)),
        f"**{headline(found)}**" if found else "",
        "\n".join(f"- {one}" for one in open_ones[:_MOST_OPEN]),
        _counts(data),
        f"**{markdown_text(busy)}**" if busy else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _on_your_data(data: ReportData) -> Iterable[str]:
    """Say how each pick does on the user's data, and which modes are no picks because of that."""
    for recommendation in map(recommend, group_cases(data.cases)):
        best = recommendation.best
        if best is not None and (said := sentences.quality(best)) is not None:
            yield f"{best.name} on {best.case.model}: {said}"
        if worse := sentences.set_aside(recommendation.group):
            yield worse


def render_answers(data: ReportData, *, without: Sequence[str] = ()) -> str:
    """Return the answer of every group as a Markdown table, `without` some columns.

    README's is made by it too.
    """
    table = answer_table(data)
    kept = [i for i, head in enumerate(table.heads) if head not in without]
    rows = [[row.cells[i] for i in kept] for row in table.rows]
    return markdown_table([table.heads[i] for i in kept], rows) if rows else ""


def render_failures(found: Sequence[Problem]) -> str:
    """Return what failed, as Markdown for a terminal."""
    return "\n\n".join(
        f"**{markdown_text(problem.case)}**{_BREAK}{problem.kind}: {markdown_text(problem.reason)}"
        + (f"{_BREAK}{markdown_text(problem.remedy)}" if problem.remedy else "")
        for problem in found
    )


def _counts(data: ReportData) -> str:
    return f"{sentences.counts(data.cases, unreadable=len(data.unreadable_cases))}."


def _measured_on(data: ReportData) -> str:
    machines = [markdown_text(str(machine)) for machine in data.machines]
    if len(machines) == 1:
        return f"Measured on {machines[0]}."
    if not machines:
        return ""
    return (
        f"These results come from {len(machines)} machines; nothing is compared across them:"
        f" {'; '.join(machines)}."
    )


def _answers(data: ReportData, shown: ReportData) -> Iterable[str]:
    several = len(data.machines) > 1
    for found in answers(shown):
        for recommendation in found.recommendations:
            yield f"## {markdown_text(sentences.group(recommendation.group, several=several))}"
            worse = sentences.set_aside(recommendation.group)
            yield render_answer(recommendation) + (f" {markdown_text(worse)}" if worse else "")
            if recommendation.best is not None:
                best = recommendation.best
                entries = [
                    ("Cold start", sentences.cold_start(best, recommendation.group.baseline)),
                    ("Memory", sentences.memory(best)),
                    ("Pays back after", sentences.break_even(best)),
                    ("Right?", sentences.numerics(best)),
                    ("Against fp64", sentences.exactness(best)),
                    ("Choices", sentences.agreement(best)),
                    ("Limit", limit(best, data)),
                    ("Next best", sentences.runner_up(recommendation)),
                    ("Best in fp32", sentences.best_fp32(recommendation)),
                    ("Noise", sentences.noise(recommendation.group)),
                ]
                yield "\n".join(
                    f"- {name}: {markdown_text(value)}" for name, value in entries if value
                )
        if found.best_cases:
            best_cases = [sentences.best_case(best_case) for best_case in found.best_cases]
            yield "\n".join(
                f"- {title}: {markdown_text(f'{which}, {value}')}"
                for title, which, value in best_cases
            )


def render_answer(recommendation: ModeRecommendation) -> str:
    """Return the answer of one group, and why it is that."""
    headline = markdown_text(sentences.headline(recommendation))
    return f"**{headline}.** {markdown_text(sentences.reason(recommendation))}"


_SPEED = {column.head: column.text for column in speed_columns()}
_COLUMNS: Mapping[str, Callable[[JudgedRecord], str]] = {
    "case": lambda judged: Code(str(judged.case)),
    "result": sentences.result,
    "speed-up (95 % interval)": _SPEED["Speed-up"],
    "latency": _SPEED["Latency"],
    "eager beside it": _SPEED["Eager beside it"],
    "cold start": lambda judged: duration(judged.cold_s),
    "memory": lambda judged: size(judged.memory_bytes),
    "pays back after": sentences.break_even,
}


def _case_table(cases: Iterable[JudgedRecord]) -> str:
    rows = [[write(case) for write in _COLUMNS.values()] for case in cases]
    return markdown_table([*_COLUMNS], rows)


def _lengths(data: ReportData) -> Iterable[str]:
    if (found := lengths_found(data.cases)) is not None:
        yield "## Lengths"
        yield from map(markdown_text, found.sentences)
        yield markdown_table(BY_CASE, found.by_case)


def _trainings(data: ReportData) -> Iterable[str]:
    if not data.trainings:
        return
    yield "## Training"
    rows = [
        [
            metrics.mode,
            metrics.status,
            figure(metrics.rmse),
            NOTHING if metrics.r2 is None else f"{metrics.r2:.4f}",
            duration(metrics.seconds),
        ]
        for metrics in (run.metrics for run in data.trainings)
    ]
    yield markdown_table(("mode", "status", "RMSE (test)", "R² (test)", "whole training"), rows)


def _unresolved(found: Sequence[Unresolved]) -> Iterable[str]:
    if found:
        yield "## What is still open"
        rows = [
            [Code(str(one.case.case)), one.meaning, one.command or "nothing has to"]
            for one in found[:CASES_SHOWN]
        ]
        yield markdown_table(("case", "what that means", "what settles it"), rows)


def _problems(data: ReportData) -> str:
    found = by_reason(problems(data))
    if not found:
        return all_well(data)
    rows = [
        [
            Code(", ".join(problem.case for problem in same)),
            same[0].kind,
            same[0].reason,
            same[0].remedy or NOTHING,
        ]
        for same in found[:CASES_SHOWN]
    ]
    if len(found) > CASES_SHOWN:
        rows.append(["…", f"{len(found) - CASES_SHOWN:,} more", "", ""])
    return markdown_table(("case", "what", "reason", "what to do"), rows)


def markdown_list(title: str, entries: Sequence[str]) -> Iterable[str]:
    """Return a heading and a list of what is Markdown already; nothing of no entries."""
    if entries:
        yield f"## {title}"
        yield "\n".join(f"- {entry}" for entry in entries)


class Code(str):
    """A cell that is shown as code."""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; every cell is escaped."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str) -> str:
    """Keep a value on one line and inside its cell."""
    if isinstance(value, Code):
        return markdown_code(value).replace("|", "\\|")
    return markdown_text(value)


def markdown_text(value: str) -> str:
    """Return Markdown that shows a text as it is: no image, link, formula, emoji or new block.

    Some of Markdown's extensions look for links and emoji in the text that is left once all escapes
    are read, so that no escape helps: an invisible character keeps those apart.
    """
    apart = _ARROW.sub(rf"\1{_JOINER}\2", _LIVE.sub(_JOINER, _on_one_line(value)))
    escaped = _SPECIAL.sub(r"\\\g<0>", apart.replace("&", "&amp;").replace("<", "&lt;"))
    return _NUMBERED.sub(r"\1\\\2", escaped)


def markdown_code(value: str) -> str:
    """Return a text as a span of code, whatever is in it."""
    text = _on_one_line(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text or not text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _on_one_line(value: str) -> str:
    return " ".join(filter(None, map(str.strip, value.splitlines())))
