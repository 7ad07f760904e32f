"""Predict: values in their own units in, a trained model's price out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app.features import ask_for_values, choose_mode, read_statistics
from app.messages import show_missing, show_problem
from app.tables import coloured
from torchmodes.config.modes import BASELINE_MODE
from torchmodes.planning.cases import find_trainings, training_metrics
from torchmodes.prediction.artefacts import (
    Artefact,
    Untrusted,
    Unusable,
    default_artefact,
    find_artefacts,
    loads_unasked,
)
from torchmodes.prediction.columns import DOLLARS, in_words
from torchmodes.report.formatting import duration
from torchmodes.report.markdown import markdown_code, markdown_text
from torchmodes.results.reading import CorruptFile
from torchmodes.workloads.training.dataset import TableStatistics
from torchmodes.workloads.training.metrics import read_metrics

if TYPE_CHECKING:
    from torchmodes.prediction.predict import Prediction

ALLOWED = "archives to run although nobody vouches for them"
TRUST = "I trust who made this file: run it"
BESIDE = "More than eager's"
INDICATIVE = (
    "The latency is the median of a few calls just now, in this process: an indication."
    " What was measured is under Benchmarks."
)


def show() -> None:
    """Show the inputs, the chosen model's price, and what the other modes' models say."""
    st.title("Predict")
    statistics = read_statistics()
    if statistics is None:
        return
    trained = find_trainings()
    if not trained:
        show_missing("No model is trained yet. This trains it in every mode:", remedy="make")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.subheader("One row of the table")
        values = ask_for_values(statistics)
    with right:
        artefact = _choose()
        if artefact is not None:
            _show_prediction(artefact, statistics, values)
    st.subheader("Every mode's model on this row")
    _show_all(trained, statistics, values)


def _choose() -> Artefact | None:
    mode = choose_mode()
    try:
        found = find_artefacts(mode)
        unasked = [loads_unasked(one) for one in found]
    except Unusable as error:
        show_problem(str(error), remedy=error.remedy)
        return None
    if len(found) == 1:
        return found[0]
    return st.selectbox(
        "Artefact",
        found,
        index=unasked.index(True) if any(unasked) else 0,
        format_func=lambda one: one.path.name,
        key="artefact",
    )


def _show_prediction(
    artefact: Artefact, statistics: TableStatistics, values: Sequence[float]
) -> None:
    from torchmodes.prediction.predict import predict  # PyTorch: the inputs stand by now

    allowed = st.session_state.setdefault(ALLOWED, set())
    try:
        said = predict(artefact, statistics, values, allowed=allowed)
    except Untrusted as error:
        st.warning(str(error), icon=":material/gpp_maybe:")
        st.code(error.remedy, language="bash")
        st.button(TRUST, on_click=allowed.add, args=[error.digest], key=f"trust {error.digest}")
        return
    except Unusable as error:
        show_problem(str(error), remedy=error.remedy)
        return
    with st.container(border=True):
        target = statistics.target
        unit = "" if target.unit in (None, DOLLARS) else f" ({target.unit})"
        st.metric(markdown_text(f"{target.name}{unit}"), in_words(target, said.value))
        if (rmse := _rmse(artefact.mode)) is not None:
            st.caption(
                markdown_text(f"± {in_words(target, rmse)}: its error on the test split (RMSE)")
            )
        if target.unit == DOLLARS and said.value < 0:
            st.warning(
                "No price is below zero: the model extrapolates, and its answer means nothing.",
                icon=":material/warning:",
            )
        st.metric("Latency of the call (indicative)", duration(said.latency_s))
    path = markdown_code(str(artefact.path))
    st.caption(f"By {markdown_text(artefact.description)} ({path}). {INDICATIVE}")


def _rmse(mode: str) -> float | None:
    """Return the error of a mode's model on the test split; None where it is not told."""
    try:
        return read_metrics(Path(training_metrics(mode))).rmse
    except CorruptFile:
        return None


def _show_all(modes: Sequence[str], statistics: TableStatistics, values: Sequence[float]) -> None:
    from torchmodes.prediction.predict import predict  # as above

    rows, problems = [], []
    for mode in modes:
        try:
            artefact = default_artefact(mode)
            rows.append((mode, predict(artefact, statistics, values)))
        except Unusable as error:
            problems.append(error)
    if rows:
        target = statistics.target
        label = f"{target.name}, $" if target.unit == DOLLARS else target.name
        st.dataframe(
            coloured(_table(rows, statistics), [mode for mode, _ in rows]),
            hide_index=True,
            column_config={
                target.name: st.column_config.NumberColumn(label, format="localized"),
                BESIDE: st.column_config.NumberColumn(format="%+.3g"),
            },
        )
    for problem in problems:
        show_problem(str(problem), remedy=problem.remedy)


def _table(rows: Sequence[tuple[str, Prediction]], statistics: TableStatistics) -> pd.DataFrame:
    target = statistics.target
    eager = next((said.value for mode, said in rows if mode == BASELINE_MODE), None)
    return pd.DataFrame(
        [
            {
                "Mode": mode,
                target.name: round(said.value) if target.unit == DOLLARS else said.value,
                BESIDE: None if eager is None else said.value - eager,
                "Answered by": said.artefact.description,
            }
            for mode, said in rows
        ]
    )
