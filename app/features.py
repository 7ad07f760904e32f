"""The inputs for one row of the table, shared by the pages that ask a model about it."""

from __future__ import annotations

import math
from pathlib import Path

import streamlit as st

from app.messages import show_missing, show_problem
from torchmodes.config import parse_config
from torchmodes.config.files import read_file
from torchmodes.config.modes import BASELINE_MODE
from torchmodes.planning.cases import TABLE_STATISTICS, find_trainings
from torchmodes.prediction.columns import beyond_training, decimals, in_words, usual
from torchmodes.report.markdown import markdown_text
from torchmodes.workloads.training.dataset import Column, TableStatistics, load_statistics

KEPT = "kept values"
KEPT_MODE = "kept mode"
COLUMNS = 2


def read_statistics() -> TableStatistics | None:
    """Return the statistics of the table, or say what makes them."""
    if not Path(TABLE_STATISTICS).exists():
        show_missing(f"{TABLE_STATISTICS} is not there yet. This makes it:", remedy="make")
        return None
    try:
        return load_statistics(Path(TABLE_STATISTICS))
    except (ValueError, OSError) as error:
        show_problem(str(error), remedy=f"snakemake --cores 4 --force {TABLE_STATISTICS}")
        return None


def choose_mode() -> str:
    """Ask for a mode: those trained in, then those that config.yaml would train in too."""
    trained = find_trainings()
    modes = [*trained, *(mode for mode in _configured() if mode not in trained)] or [BASELINE_MODE]
    known = st.session_state.get("mode", st.session_state.get(KEPT_MODE))
    st.session_state["mode"] = known if known in modes else modes[0]  # set, as in `_ask`
    mode = st.selectbox(
        "Training mode",
        modes,
        format_func=lambda name: name if name in trained else f"{name} (not trained)",
        key="mode",
    )
    st.session_state[KEPT_MODE] = mode
    return mode


def ask_for_values(statistics: TableStatistics) -> list[float]:
    """Show one input per feature, in its own unit, and flag what the model has never seen."""
    kept = st.session_state.setdefault(KEPT, {})
    values: list[float] = []
    # A row of its own for every few inputs, so that the tab key goes through them in order.
    for start in range(0, len(statistics.features), COLUMNS):
        asked = statistics.features[start : start + COLUMNS]
        for column, place in zip(asked, st.columns(COLUMNS), strict=False):
            with place:
                values.append(_ask(column, kept))
    return values


def _ask(column: Column, kept: dict[str, float]) -> float:
    key = f"feature {column.name}"
    # A widget that another page does not show is forgotten; its value is kept apart. What the same
    # key had on the page before this one is forgotten too, unless it is set here.
    st.session_state[key] = st.session_state.get(key, kept.get(column.name, usual(column)))
    value = st.number_input(
        markdown_text(f"{column.name} ({column.unit})" if column.unit else column.name),
        key=key,
        step=10.0 ** round(math.log10(column.standard_deviation) - 1),
        format=f"%.{decimals(column)}f",
        help=markdown_text(
            f"training data: mean {in_words(column, column.mean)},"
            f" {in_words(column, column.minimum)} to {in_words(column, column.maximum)}"
        ),
    )
    kept[column.name] = value
    if said := beyond_training(column, value):
        st.warning(markdown_text(f"{column.name} is {said}"), icon=":material/warning:")
    return value


def _configured() -> list[str]:
    """Return the modes that config.yaml trains in; none where it cannot be read."""
    try:
        return list(parse_config(read_file(Path("config.yaml"))).training.modes)
    except ValueError:
        return []
