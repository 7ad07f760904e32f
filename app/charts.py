"""Bars, as Vega-Lite draws them: axes that can be read, one colour per mode."""

from __future__ import annotations

import pandas as pd
import streamlit as st

ROW_PIXELS = 22
LONGEST_NAME_PIXELS = 180
HEIGHT_PIXELS = 300
TICKS = 8


def sideways(table: pd.DataFrame, *, name: str, value: str, title: str, colour: str) -> None:
    """Draw a row with a bar for each row of a table, in its order."""
    label = {"title": None, "labelLimit": LONGEST_NAME_PIXELS}
    scale = {"title": title, "tickCount": TICKS}
    _draw_bars(
        table,
        colour,
        {"step": ROW_PIXELS},
        y={"field": name, "type": "nominal", "sort": None, "axis": label},
        x={"field": value, "type": "quantitative", "axis": scale},
    )


def bins(table: pd.DataFrame, *, title: str, colour: str) -> None:
    """Draw a histogram: a bar from ``low`` to ``high``, as high as ``count``, for each row."""
    low = {"field": "low", "type": "quantitative", "bin": {"binned": True}}
    _draw_bars(
        table,
        colour,
        HEIGHT_PIXELS,
        x=low | {"axis": {"title": title}},
        x2={"field": "high"},
        y={"field": "count", "type": "quantitative", "axis": {"title": "how many"}},
    )


def upright(table: pd.DataFrame, *, name: str, value: str, colour: str) -> None:
    """Draw a bar for each row of a table, with as many names below as there is room for."""
    label = {"labelOverlap": True, "labelAngle": 0, "ticks": False}
    _draw_bars(
        table,
        colour,
        HEIGHT_PIXELS,
        x={"field": name, "type": "ordinal", "axis": label},
        y={"field": value, "type": "quantitative"},
    )


def _draw_bars(table: pd.DataFrame, colour: str, height: object, **encoding: object) -> None:
    tooltip = [{"field": name} for name in table.columns]
    bars = {"mark": {"type": "bar", "color": colour}, "height": height}
    st.vega_lite_chart(table, {**bars, "encoding": {**encoding, "tooltip": tooltip}})
