"""Benchmarks: the report's comparison, to be filtered; records, verdicts and words are its own."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.figures import show_figure
from app.messages import show_missing, show_problem
from app.tables import coloured
from torchmodes.planning.cases import SUMMARY, Case, find_records
from torchmodes.report import sentences
from torchmodes.report.answer_table import answer_table
from torchmodes.report.data import ReportData
from torchmodes.report.figures import FIGURES, figure_named
from torchmodes.report.formatting import NOTHING
from torchmodes.report.loading import Existing, load_existing
from torchmodes.report.markdown import markdown_code, markdown_text, render_answer, render_answers
from torchmodes.report.problems import problems
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.sections import Facets
from torchmodes.report.tables import judged_table
from torchmodes.report.unresolved import headline, unresolved
from torchmodes.report.verdicts import JudgedRecord

NAMES = {"batch_size": "Batch"}
SPEED_UP = ("speed_up", "speed_up_low", "speed_up_high")
PUBLISHED = (
    *SPEED_UP,
    *("latency_median_s", "latency_p95_s", "baseline_latency_median_s", "quads"),
)
"""What the report shows of measured cases alone: nothing of a case that came out wrong."""
MILLISECONDS = 1e3
MEGABYTES = 1e-6


def show() -> None:
    """Show the recommendation, the table of cases and a figure, filtered as the reader likes."""
    st.title("Benchmarks")
    paths = find_records()
    if not paths:
        show_missing(
            "Nothing was measured yet. This measures every case of config.yaml:",
            remedy="make",
        )
        return
    existing = _load(tuple(map(_stamp, paths)), _stamp(Path(SUMMARY)))
    for one in existing.broken:
        path, remove = shlex.quote(str(one.path)), "rm -r" if one.path.is_dir() else "rm"
        show_problem(str(one), remedy=f"{remove} {path} && snakemake --cores 4 {path}")
    data = _chosen_run(existing)
    if not data.cases:
        return
    _show_advice(data)
    varying = Facets.of([judged.case for judged in data.cases]).varying
    cases = _filtered(data, varying)
    st.caption(f"{sentences.counts(cases)}.")
    if cases:
        _show_table(cases, varying)
        _show_figure(replace(data, cases=cases))
        _show_problems(replace(data, cases=cases, trainings=()))
    else:
        st.info("No case is left by these filters.")


@st.cache_resource(max_entries=2, show_spinner="Reading the records")
def _load(records: Sequence[tuple[str, int, int]], summary: tuple[str, int, int]) -> Existing:
    """Read the records; a change of any file makes them be read again."""
    return load_existing([Path(path) for path, *_ in records], Path(summary[0]))


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_mtime_ns, found.st_size


def _chosen_run(existing: Existing) -> ReportData:
    if existing.others is None:
        return existing.data
    more = len(existing.others.cases) - len(existing.data.cases)
    if st.toggle(
        f"Also the {more} that the last report does not hold",
        help="Verdicts allow for how many cases are compared, so they can differ from the report's",
        value=not existing.data.cases,
    ):
        return existing.others
    return existing.data


def _show_advice(data: ReportData) -> None:
    """Show the report's table of answers, what is open, and why each answer is what it is."""
    st.markdown(render_answers(data))
    found = unresolved(data)
    if found:
        with st.expander(f"**{headline(found)}**"):
            for one in found:
                name = markdown_text(f"{one.case.name} on {one.case.case.model}: {one.meaning}")
                st.markdown(name + (f" · {markdown_code(one.command)}" if one.command else ""))
    for note in answer_table(data).notes:
        st.caption(markdown_text(note))
    with st.expander("Why"):
        for recommendation in map(recommend, group_cases(data.cases)):
            st.caption(markdown_text(sentences.group(recommendation.group, several=True)))
            st.markdown(render_answer(recommendation))


def _filtered(data: ReportData, choices: Mapping[str, list[Any]]) -> tuple[JudgedRecord, ...]:
    """Return the cases that the reader's filters leave; a field all cases share gets none."""
    verdicts = sorted({sentences.verdict(judged) for judged in data.cases})
    places = st.columns(len(choices) + 1)
    wanted = {
        name: place.multiselect(_title(name), found, key=f"filter {name}", placeholder="all")
        for place, (name, found) in zip(places, choices.items(), strict=False)
    }
    results = places[-1].multiselect("Result", verdicts, key="filter result", placeholder="all")
    return tuple(
        judged
        for judged in data.cases
        if _wanted(judged.case, wanted) and (not results or sentences.verdict(judged) in results)
    )


def _wanted(case: Case, wanted: dict[str, list[object]]) -> bool:
    return all(not values or getattr(case, name) in values for name, values in wanted.items())


def _show_table(cases: Sequence[JudgedRecord], varying: Collection[str]) -> None:
    tidy = judged_table(cases)
    measured = [judged.measured for judged in cases]
    telling = [judged.measured and not judged.speed_up.says_nothing for judged in cases]
    tidy.loc[~pd.Series(measured), [*PUBLISHED]] = pd.NA
    tidy.loc[~pd.Series(telling), [*SPEED_UP]] = pd.NA
    machines = [str(judged.machine) for judged in cases]
    table = pd.DataFrame(
        {
            "Mode": [judged.name for judged in cases],
            **({"Model": tidy["model"]} if "model" in varying else {}),
            "Result": [sentences.result(judged) for judged in cases],
            "Speed-up": tidy["speed_up"],
            "Low": tidy["speed_up_low"],
            "High": tidy["speed_up_high"],
            **{_title(name): tidy[name] for name in varying if name not in ("mode", "model")},
            **({"Machine": machines} if len(set(machines)) > 1 else {}),
            "Latency, ms": tidy["latency_median_s"] * MILLISECONDS,
            "Eager beside it, ms": tidy["baseline_latency_median_s"] * MILLISECONDS,
            "p95, ms": tidy["latency_p95_s"] * MILLISECONDS,
            "Cold start, s": tidy["cold_s"],
            "Memory, MB": pd.Series([j.memory_bytes for j in cases], dtype=float) * MEGABYTES,
            "Blocks": tidy["quads"],
        }
    )
    digits = {"Speed-up": "%.3f×", "Low": "%.3f", "High": "%.3f"}
    digits |= {"Latency, ms": "%.3f", "Eager beside it, ms": "%.3f", "p95, ms": "%.3f"}
    digits |= {"Cold start, s": "%.3f", "Memory, MB": "%.1f"}
    st.dataframe(
        coloured(table, [judged.case.mode for judged in cases]),
        hide_index=True,
        placeholder=NOTHING,
        column_config={n: st.column_config.NumberColumn(format=f) for n, f in digits.items()},
    )


def _show_figure(data: ReportData) -> None:
    there = [entry.name for entry in FIGURES if entry.of != "profile" and entry.is_in(data)]
    if not there:
        return
    name = st.segmented_control(
        "Figure",
        there,
        format_func=lambda name: figure_named(name).title,
        default=there[0],
        key="figure",
    )
    if name is None:
        return
    entry = figure_named(name)
    parts = [data] if entry.of == "run" else [data.about(one) for one in data.deployments]
    for part in parts:
        show_figure(entry, part)


def _show_problems(data: ReportData) -> None:
    found = problems(data)
    if found:
        with st.expander(f"What was not measured ({len(found)})"):
            st.dataframe(
                pd.DataFrame(
                    [
                        {"Kind": p.kind, "Case": p.case, "Reason": p.reason, "Remedy": p.remedy}
                        for p in found
                    ]
                ),
                hide_index=True,
            )


def _title(name: str) -> str:
    return NAMES.get(name, name.capitalize())
