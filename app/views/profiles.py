"""Profiles: where a step's time goes, and what differs between two cases, operator by operator."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from app.charts import sideways
from app.figures import show_figure
from app.messages import show_missing, show_problem
from app.texts import show_text
from torchmodes.planning.cases import Case, find_profiles
from torchmodes.profiling.diff import compare_times
from torchmodes.profiling.reading import CaseProfile, read_profile
from torchmodes.report import formatting, sentences
from torchmodes.report.data import make_report_data
from torchmodes.report.figures import figure_named
from torchmodes.report.formatting import duration
from torchmodes.report.markdown import markdown_code, markdown_text
from torchmodes.report.style import look

MILLISECONDS = 1e3
OPERATORS = "operators"
SHOWN_AS_BARS = 12
FORMATS = {
    "flops": st.column_config.NumberColumn(format="compact"),
    "memory": st.column_config.NumberColumn(format="bytes"),
}


def show() -> None:
    """Show one profile, or the difference of two."""
    st.title("Profiles")
    cases = find_profiles()
    if not cases:
        show_missing(
            "Nothing was profiled yet. This measures and profiles what config.yaml names:",
            remedy="make",
        )
        return
    left, right = st.columns(2)
    first = left.selectbox("Case", cases, format_func=str, key="profile")
    others = [None, *(case for case in cases if case != first)]
    second = right.selectbox(
        "Compare with",
        others,
        format_func=lambda case: "nothing" if case is None else str(case),
        key="other profile",
    )
    profiled = _read(first)
    if second is None:
        _show_profile(profiled)
    else:
        _show_difference(profiled, _read(second))


def _read(case: Case) -> CaseProfile:
    profiled = read_profile(Path(case.profile))
    for message in profiled.broken.values():
        show_problem(message)
    if profiled.broken:
        summary = shlex.quote(f"{case.profile}/summary.json")
        st.code(f"snakemake --cores 4 --force {summary}", language="bash")
    return profiled


def _show_profile(profiled: CaseProfile) -> None:
    if said := sentences.profiled(profiled):
        st.markdown(markdown_text(said))
    colour = look(profiled.case.mode).colour
    if profiled.parts:
        st.subheader("A step, by what its time goes to")
        parts = pd.Series(dict(profiled.parts)).sort_values(ascending=False) * MILLISECONDS
        _show_bars(parts, "ms in a step", colour)
    found = {name: profiled.shown(name) for name in profiled.tables}
    tables = {name: found[name] for name in sorted(found, key=_operators_first) if len(found[name])}
    if not tables:
        st.info("The profile holds no operator.")
        return
    names = [*tables, *(["what the mode made"] if profiled.texts else [])]
    tabs = st.tabs([markdown_text(name.capitalize()) for name in names])
    for name, tab in zip(names, tabs, strict=True):
        with tab:
            if name == OPERATORS:
                _show_own_times(tables[name], colour)
            if name == "layers":
                show_figure(figure_named("layers"), make_report_data([], profiles=[profiled]))
            if name == "memory":
                show_figure(figure_named("memory"), profiled)
            if name in tables:
                _show_table(tables[name])
            else:
                _show_texts(profiled.texts)
    st.caption(
        "Per recorded step. Self: without what it calls itself. The profiler slows a step;"
        " compare modes under Benchmarks."
    )


def _show_own_times(operators: pd.DataFrame, colour: str) -> None:
    if "self_cpu_s" in operators.columns:
        own = operators.groupby("operator")["self_cpu_s"].sum().nlargest(SHOWN_AS_BARS)
        _show_bars(own * MILLISECONDS, "ms of its own in a step", colour)


def _show_difference(first: CaseProfile, second: CaseProfile) -> None:
    for profiled in (first, second):
        if said := sentences.profiled(profiled):
            st.markdown(f"{markdown_code(str(profiled.case))} — {markdown_text(said)}")
    if not all(len(profiled.tables.get(OPERATORS, ())) for profiled in (first, second)):
        st.info("One of the two has no operators, so there is nothing to compare.")
        return
    both = compare_times(first, second)
    both["more_s"] = -both["gained_s"]
    more = both["more_s"].sum()
    names = first.case.mode, second.case.mode
    if names[0] == names[1]:
        names = str(first.case), str(second.case)
    st.markdown(
        f"In a recorded step the operators of **{markdown_text(names[1])}** take"
        f" {duration(abs(more))} {'more' if more > 0 else 'less'} than those of"
        f" **{markdown_text(names[0])}**."
    )
    bars = both.head(SHOWN_AS_BARS).set_index("name")["more_s"] * MILLISECONDS
    _show_bars(bars, f"ms more in a step of {names[1]}", look(second.case.mode).colour)
    titles = {
        "name": both["kind"].iloc[0],
        "a_s": f"{names[0]}, ms",
        "b_s": f"{names[1]}, ms",
        "more_s": "difference, ms",
        "calls_a": f"{names[0]}, calls",
        "calls_b": f"{names[1]}, calls",
    }
    st.dataframe(_in_milliseconds(both)[list(titles)].rename(columns=titles), hide_index=True)
    st.caption(
        "Time that an operator itself takes, without those it calls, recorded without stacks; on a"
        " GPU, the time of each kernel."
    )


def _show_bars(values: pd.Series, title: str, colour: str) -> None:
    table = values.rename("ms").rename_axis("name").reset_index()
    sideways(table, name="name", value="ms", title=title, colour=colour)


def _show_table(table: pd.DataFrame) -> None:
    st.dataframe(
        _in_milliseconds(table).rename(columns=_titled), hide_index=True, column_config=FORMATS
    )


def _show_texts(texts: Sequence[Path]) -> None:
    chosen = st.selectbox("File", texts, format_func=lambda path: path.name, key="text")
    show_text(chosen)


def _operators_first(name: str) -> tuple[bool, str]:
    return name != OPERATORS, name


def _in_milliseconds(table: pd.DataFrame) -> pd.DataFrame:
    seconds = [name for name in table.columns if name.endswith("_s")]
    return table.assign(**{name: table[name] * MILLISECONDS for name in seconds})


def _titled(name: str) -> str:
    """Write a column's name with the unit it is shown in."""
    return f"{formatting.column(name)}{', ms' if name.endswith('_s') else ''}"
