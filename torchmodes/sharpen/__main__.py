"""Add runs where an answer is open, until it is settled or the time is up.

    make sharpen MINUTES=20                                        the open answers, widest first
    make sharpen CASE=inference/cpu/resnet50/onnxruntime/fp32-b1   one case
    make sharpen RUNS=8                                            eight runs where one is open

Each round asks for more runs in ``results/further_runs.json`` and lets Snakemake bring the records
up to that; docs/measuring.md explains what looking again costs. Other options go to ``snakemake``:
give the same ARGS as to the run itself.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from torchmodes.planning.cases import SUMMARY, Case, find_records, parse_case
from torchmodes.report import sentences
from torchmodes.report.formatting import plural
from torchmodes.report.loading import load_existing
from torchmodes.report.recommendation import Group, group_cases, recommend
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.further_runs import read_further_runs, write_further_runs
from torchmodes.sharpen.questions import (
    Addition,
    Question,
    additions,
    open_questions,
    runs_of,
)

LOG = Path("logs/sharpen.log")
STARTED_IN = Path.cwd()
"""From there the paths of Snakemake's arguments count, whatever ``--directory`` is."""
LOOK_S = 1.0
"""How often the progress is looked at: it must not keep a core busy beside a measurement."""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="that it may take")
    parser.add_argument("--case", help="to add runs to, whatever is open")
    parser.add_argument("--runs", type=int, help="to bring a case to, in one step")
    parser.add_argument("--directory", "-d", type=Path, help="of the run; default: this one")
    options, snakemake = parser.parse_known_args()
    try:
        if options.directory is not None:
            snakemake = ["--directory", str(options.directory), *snakemake]
            if not options.directory.is_dir():
                raise ValueError(f"--directory: there is no folder {options.directory}")
            os.chdir(options.directory)  # results, and what is asked for, lie there
        if not (math.isfinite(options.minutes) and options.minutes > 0):
            raise ValueError(f"MINUTES: {options.minutes:g} is no time; give some above 0")
        if options.runs is not None and options.runs < 1:
            raise ValueError(f"RUNS: {options.runs} is no number of runs; give 1 or more")
        sharpen(
            minutes=options.minutes,
            case=parse_case(options.case) if options.case else None,
            runs=options.runs,
            snakemake=snakemake,
            console=Console(highlight=False),
        )
    except ValueError as error:
        sys.exit(f"Error: {error}")


def sharpen(
    *,
    minutes: float,
    case: Case | None,
    runs: int | None,
    snakemake: Sequence[str],
    console: Console,
) -> None:
    """Add runs, round by round, and print what changed.

    Raises
    ------
    ValueError
        When there is no finished run of this configuration, or no such case in it, or a round
        failed.
    """
    deadline = time.monotonic() + 60 * minutes
    if "Nothing to be done" not in _snakemake(["--dry-run", *snakemake]):
        raise ValueError(
            "there is no finished run of this configuration: run snakemake (make) first, and give"
            " the same ARGS here"
        )
    before = _cases()
    now, number = before, 0
    while questions := _asked(now, case):
        chosen = additions(questions, seconds=deadline - time.monotonic(), runs=runs)
        if not chosen:
            break
        number += 1
        _make(chosen, f"round {number}, {plural(len(questions), 'open answer')}", snakemake)
        now = _cases()
        if case is not None:
            break
    if number:
        _snakemake(snakemake)
    for line in changes(before, now):
        console.print(line, markup=False)


def changes(before: Sequence[JudgedRecord], now: Sequence[JudgedRecord]) -> list[str]:
    """Say which cases have more runs, what that changed in their groups, and what is still open."""
    there = {judged.case: runs_of(judged) for judged in before}
    added = {judged.case for judged in now if runs_of(judged) > there.get(judged.case, 0)}
    if not added:
        told = "no answer is open, what is open has as many runs as were asked for"
        none = f"No run was added: {told}, or there was no time for another run."
        # Nor does a run help where those that are there say nothing.
        return [line for line in (none, sentences.without_verdict(now)) if line]
    lines = [
        f"{judged.case}: {there.get(judged.case, 0)} → {runs_of(judged)} runs"
        for judged in now
        if judged.case in added
    ]
    answered = {
        (group.deployment, group.batch_size): _answer(group) for group in group_cases(before)
    }
    for group in group_cases(now):
        if added.isdisjoint(judged.case for judged in group.cases):
            continue
        was, answer = answered.get((group.deployment, group.batch_size)), _answer(group)
        lines += ["", sentences.group(group, several=False)]
        lines += (
            [f"  as before: {answer}"] if was == answer else [f"  was: {was}", f"  now: {answer}"]
        )
    if still := open_questions(now):
        lines += ["", f"{plural(len(still), 'answer')} still open; more minutes may settle more."]
    return lines


def _answer(group: Group) -> str:
    recommendation = recommend(group)
    told = [f"{sentences.headline(recommendation)}.", sentences.ranking(recommendation)]
    return " ".join(part for part in told if part)


def _asked(cases: Sequence[JudgedRecord], case: Case | None) -> list[Question]:
    """Return what is open, or the one case that was asked for."""
    if case is None:
        return open_questions(cases)
    found = [judged for judged in cases if judged.case == case and judged.measured]
    if not found:
        raise ValueError(f"CASE: the last run measured no {case}; results/summary.csv lists them")
    return [Question(found[0], None, math.inf)]


def _cases() -> tuple[JudgedRecord, ...]:
    return load_existing(find_records(), Path(SUMMARY)).data.cases


def _make(chosen: Sequence[Addition], title: str, snakemake: Sequence[str]) -> None:
    """Ask for the runs and have them measured, telling how far that is."""
    further = read_further_runs()
    for addition in chosen:
        further = further.with_look(addition.case, addition.runs)
    write_further_runs(further)
    files = [Path(file) for addition in chosen for file in addition.files]
    lacking = [file for file in files if not file.exists()]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), refresh_per_second=1 / LOOK_S) as progress:
        task = progress.add_task(f"{title}: {plural(len(lacking), 'run')}", total=len(lacking))
        _snakemake(
            [*(addition.case.record for addition in chosen), *snakemake],
            meanwhile=lambda: progress.update(
                task, completed=sum(file.exists() for file in lacking)
            ),
        )


def _snakemake(arguments: Sequence[str], meanwhile: Callable[[], None] = lambda: None) -> str:
    """Run Snakemake to its end and return what it printed, which the log keeps.

    Raises
    ------
    ValueError
        When it fails.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", *arguments]
    with LOG.open("a+", encoding="utf-8") as log:
        began = log.tell()
        with subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=STARTED_IN
        ) as process:
            while process.poll() is None:
                time.sleep(LOOK_S)
                meanwhile()
        log.seek(began)
        told = log.read()
    if process.returncode:
        _, _, refusal = told.partition("\nError: ")
        before_any_job = "Building DAG" not in told
        ended = f"snakemake ended with exit code {process.returncode}; see {LOG}"
        raise ValueError(refusal.strip() if refusal and before_any_job else ended)
    return told


if __name__ == "__main__":
    main()
