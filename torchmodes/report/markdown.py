"""The report in short as Markdown: to read in a terminal or to paste into an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from torchmodes.report import words
from torchmodes.report.advice import statistics_of
from torchmodes.report.data import CASES_SHOWN, ReportData
from torchmodes.report.hardware import advice_by_hardware
from torchmodes.report.judging import Judged
from torchmodes.report.problems import all_well, problems
from torchmodes.report.quantities import NOTHING, duration, ratio, ratio_range, size
from torchmodes.report.sections import answers, case_warnings
from torchmodes.writing import write_atomically

_HOW_TO_OPEN = (
    "The whole report is `reports/report.html`: one file, no network needed. Open it with"
    " `xdg-open reports/report.html` (Linux), `open reports/report.html` (macOS), or a browser."
)


def write_summary(data: ReportData, path: Path) -> None:
    """Write the summary."""
    write_atomically(Path(path), render_summary(data))


def render_summary(data: ReportData) -> str:
    """Return the summary as Markdown: the same data give the same text."""
    shown = data.excerpt()
    parts = [
        "# Which PyTorch execution mode to ship",
        f"{words.counts(data.cases)}. {_measured_on(data)}",
        ""
        if shown is data
        else f"Shown are {len(shown.cases):,} of them, those of the first models;"
        " `results/summary.csv` holds every case.",
        *_answers(data, shown),
        *_hardware(data),
        "## All cases",
        markdown_table(_CASE_HEAD, [_case_row(judged) for judged in shown.cases])
        if shown.cases
        else "No case was benchmarked.",
        *_trainings(data),
        "## Not measured",
        _problems(data),
        *_warnings(data),
        "## The whole report",
        _HOW_TO_OPEN,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_CASE_HEAD = (
    *("case", "result", "speed-up", "95 % interval", "latency", "eager beside it"),
    *("cold start", "memory", "break-even"),
)


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
        where = f" on {found.subject.machine}" if several else ""
        for advice in found.advices:
            title = f"{words.subject(found.subject)} · batch {advice.group.batch_size:,}{where}"
            yield f"## {markdown_text(title)}"
            said = [f"**{words.headline(advice)}.** {words.reason(advice)}"]
            said += filter(None, [words.still_open(advice)])
            yield markdown_text(" ".join(said))
            if advice.best is not None:
                best = advice.best
                entries = [
                    ("Cold start", words.cold_start(best)),
                    ("Memory", words.memory(best)),
                    ("Break-even", words.break_even(best)),
                    ("Numerics", words.numerics(best)),
                    ("Runner-up", words.runner_up(advice)),
                    ("Best in fp32", words.best_fp32(advice)),
                    ("Noise", words.noise(advice.group)),
                ]
                yield "\n".join(
                    f"- {name}: {markdown_text(value)}" for name, value in entries if value
                )
        if found.picks:
            picks = [words.pick(pick) for pick in found.picks]
            yield "\n".join(
                f"- {title}: {markdown_text(which)}, {value}" for title, which, value in picks
            )


def _hardware(data: ReportData) -> Iterable[str]:
    found = advice_by_hardware(data)
    if found:
        yield "## Advice by hardware"
        yield "\n".join(f"- {markdown_text(f'{one.title}: {one.said}')}" for one in found)


def _case_row(judged: Judged) -> list[str]:
    row = [f"`{judged.case}`", words.verdict(judged)]
    if judged.withdrawn:
        row[1] += f" (alone: {judged.record.verdict})"
    if judged.measured:
        statistics = statistics_of(judged)
        row += [
            ratio(statistics.speed_up.estimate),
            ratio_range(statistics.speed_up),
            duration(statistics.candidate.median_s),
            duration(statistics.baseline.median_s),
        ]
    else:
        row += [NOTHING] * 4
    return [*row, duration(judged.cold_s), size(judged.memory_bytes), words.break_even(judged)]


def _trainings(data: ReportData) -> Iterable[str]:
    if not data.trainings:
        return
    yield "## Training"
    rows = []
    for run in data.trainings:
        rmse, r2 = run.metrics.get("rmse"), run.metrics.get("r2")
        rows.append(
            [
                run.mode,
                run.status,
                NOTHING if rmse is None else f"{rmse:,.4g}" if rmse < 1000 else f"{rmse:,.0f}",
                NOTHING if r2 is None else f"{r2:.4f}",
                duration(run.metrics.get("seconds")),
            ]
        )
    yield markdown_table(("mode", "status", "RMSE (test)", "R² (test)", "whole training"), rows)


def _warnings(data: ReportData) -> Iterable[str]:
    found = case_warnings(data)
    if not found:
        return
    yield "## Warnings"
    yield "\n".join(
        f"- {markdown_text(text)}: {', '.join(f'`{case}`' for case in cases)}"
        for text, cases in found
    )


def _problems(data: ReportData) -> str:
    found = problems(data)
    if not found:
        return all_well(data)
    rows = [[f"`{p.case}`", p.kind, p.reason, p.remedy or NOTHING] for p in found[:CASES_SHOWN]]
    if len(found) > CASES_SHOWN:
        rows.append(["…", f"{len(found) - CASES_SHOWN:,} more", "", ""])
    return markdown_table(("case", "what", "reason", "what to do"), rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; every cell is escaped."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str) -> str:
    """Keep a value on one line and inside its cell."""
    return markdown_text(value).replace("|", "\\|")


def markdown_text(value: str) -> str:
    """Keep what a message says from being read as HTML or as a new block."""
    flat = re.sub(r"\s*\n\s*", " ", value.strip())
    return flat.replace("&", "&amp;").replace("<", "&lt;")
