"""The report's figures in the app, in the colours of its own theme."""

from __future__ import annotations

from typing import Any

import streamlit as st

from torchmodes.report.figures import FigureEntry
from torchmodes.report.plots import inline_figure
from torchmodes.report.style import variables


def show_figure(entry: FigureEntry, content: Any) -> None:
    """Show a figure of a run, a deployment or a profile where there is anything to draw."""
    if not entry.is_in(content):
        return
    figure = inline_figure(entry, content)
    svg = figure.svg
    for variable, colour in variables().items():
        svg = svg.replace(f"var(--{variable})", colour)
    left, _ = st.columns([3, 2])  # on a phone the one is below the other
    left.image(svg, width="stretch", caption=figure.caption)
