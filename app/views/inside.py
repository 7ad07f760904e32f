"""Inspect: what a model is given, what it holds, what its layers make of a row, and its graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app.charts import bins, upright
from app.features import ask_for_values, choose_mode, read_statistics
from app.messages import show_problem
from app.texts import show_text
from torchmodes.planning.cases import trained_model
from torchmodes.prediction.artefacts import Unusable, weights_of
from torchmodes.prediction.columns import in_words
from torchmodes.report.markdown import markdown_code, markdown_text
from torchmodes.report.style import look
from torchmodes.workloads.training.dataset import TableStatistics

if TYPE_CHECKING:
    from torch import nn

    from torchmodes.prediction.layers import Activation

TEXTS = {
    "graph.txt": "Graph",
    "code.py": "Generated code",
    "graph_breaks.txt": "Graph breaks",
    "counters.json": "Counters",
}
"""What modes write to be read, and what it is called here."""
NODES = "graph.csv"


def show() -> None:
    """Show the inside of a mode's model."""
    st.title("Inspect")
    statistics = read_statistics()
    if statistics is None:
        return
    mode = choose_mode()
    # PyTorch, whose import takes seconds: not before there is a table.
    from torchmodes.prediction.layers import activations
    from torchmodes.prediction.loading import load_mlp
    from torchmodes.prediction.predict import normalise

    row, weights, layers, graph = st.tabs(["Row", "Weights", "Activations", "Graph and code"])
    with row:
        values = ask_for_values(statistics)
        given = normalise(statistics, values)
        _show_row(statistics, values, given[0].tolist())
    try:
        artefact = weights_of(mode)
        module = load_mlp(artefact, statistics)
    except Unusable as error:
        for tab in (weights, layers):
            with tab:
                show_problem(str(error), remedy=error.remedy)
        module = None
    if module is not None:
        colour, path = look(mode).colour, markdown_code(str(artefact.path))
        with weights:
            st.caption(f"Of {path}, loaded into the MLP.")
            _show_weights(module, colour)
        with layers:
            st.caption(f"Of the MLP with {path}, for the row of the first tab.")
            _show_layers(activations(module, given), colour)
    with graph:
        _show_texts(mode)


def _show_row(
    statistics: TableStatistics, values: Sequence[float], scores: Sequence[float]
) -> None:
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "Feature": column.name,
                    "Value": in_words(column, value),
                    "Unit": column.unit or "",
                    "Training mean": in_words(column, column.mean),
                    "Standard deviation": in_words(column, column.standard_deviation),
                    "What the model is given": score,
                }
                for column, value, score in zip(statistics.features, values, scores, strict=True)
            ]
        ),
        hide_index=True,
        column_config={"What the model is given": st.column_config.NumberColumn(format="%.6f")},
    )
    st.caption("(value − training mean) / standard deviation, in float32: a tensor of one row.")


def _show_weights(module: nn.Module, colour: str) -> None:
    from torchmodes.prediction.layers import histogram, parameter_table

    st.dataframe(
        parameter_table(module),
        hide_index=True,
        column_config={"values": st.column_config.NumberColumn(format="localized")},
    )
    parameters = dict(module.named_parameters())
    name = st.selectbox("Parameter", list(parameters), key="parameter")
    values = parameters[name].detach()
    bins(histogram(values.flatten().numpy()), title=f"value in {name}", colour=colour)
    with st.expander("All values"):
        st.dataframe(pd.DataFrame(values.reshape(len(values), -1).numpy()))


def _show_layers(found: list[Activation], colour: str) -> None:
    from torchmodes.prediction.layers import activation_table

    st.dataframe(
        activation_table(found),
        hide_index=True,
        column_config={"zero": st.column_config.NumberColumn("exactly zero", format="percent")},
    )
    names = [f"{one.layer} ({one.kind})" for one in found]
    chosen = st.selectbox("Layer", range(len(found)), format_func=names.__getitem__, key="layer")
    units = pd.DataFrame({"unit": range(found[chosen].units.size), "output": found[chosen].units})
    upright(units, name="unit", value="output", colour=colour)


def _show_texts(mode: str) -> None:
    folder = Path(trained_model(mode))
    there = [name for name in TEXTS if (folder / name).is_file()]
    if not there:
        st.info(markdown_text(f"The mode {mode} wrote no graph and no code."))
    for name in there:
        st.subheader(TEXTS[name])
        show_text(folder / name)
    if (folder / NODES).is_file():
        st.subheader("Nodes")
        st.caption(markdown_code(str(folder / NODES)))
        try:
            st.dataframe(pd.read_csv(folder / NODES, dtype=str), hide_index=True, placeholder="")
        except (OSError, ValueError) as error:
            show_problem(f"{folder / NODES}: cannot be read ({error})")
