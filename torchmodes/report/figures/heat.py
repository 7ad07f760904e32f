"""Modes against models: where each one helps, at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from torchmodes.report import sentences
from torchmodes.report.data import ReportData
from torchmodes.report.environments import Machine
from torchmodes.report.figures.panels import (
    LABEL_SIZE,
    Panel,
    about_case,
    bottom_legend,
    label_rows,
    label_width,
    shortened,
    stack,
)
from torchmodes.report.formatting import estimate
from torchmodes.report.style import INK, MARGIN, MUTED, PALETTE, SURFACE, WIDTH_INCHES
from torchmodes.report.verdicts import JudgedRecord

FASTER, SLOWER = PALETTE["blue"], PALETTE["vermilion"]
_ROW = 0.34
_DEEPEST = 0.5
"""The strongest shade: what is written on it must stay readable, on paper and in the dark."""
_FULL = math.log(2)
"""The effect, twice or half as fast, that has the strongest shade."""
_FEWEST_MODELS = 2
_SIGNS = {"unsupported": "n/a", "no effect": "none"}


@dataclass(frozen=True)
class HeatMap:
    """The cases of several models that may stand side by side: one machine, task, device, batch."""

    machine: Machine
    task: str
    device: str
    batch_size: int
    cases: tuple[JudgedRecord, ...]

    @property
    def models(self) -> list[str]:
        """The columns."""
        return sorted({judged.case.model for judged in self.cases})

    @property
    def rows(self) -> list[JudgedRecord]:
        """One case of each mode and precision, for the rows' names."""
        named = {(judged.case.mode, judged.case.precision): judged for judged in self.cases}
        return [named[key] for key in sorted(named)]


def heat_maps(data: ReportData) -> list[HeatMap]:
    """Return what can be drawn: where two models or more ran at one batch size."""
    found: dict[tuple[Machine, str, str, int], list[JudgedRecord]] = {}
    for judged in data.cases:
        case = judged.case
        if not case.is_baseline:
            key = (judged.machine, case.task, case.device, case.batch_size)
            found.setdefault(key, []).append(judged)
    made = [HeatMap(*key, tuple(cases)) for key, cases in sorted(found.items())]
    return [
        heat
        for heat in made
        if len(heat.models) >= _FEWEST_MODELS and any(judged.competes for judged in heat.cases)
    ]


def draw_heat(data: ReportData) -> Figure:
    """Draw the speed-up of every mode on every model as a shaded grid with its numbers.

    Blue is faster than eager and orange slower, the stronger the more; what is the same or
    unresolved stays grey, and what has no figure says why.
    """
    found = heat_maps(data)
    panels = [Panel(_title(heat, data), 0.3 + _ROW * len(heat.rows)) for heat in found]
    left = label_width(row.name for heat in found for row in heat.rows)
    figure, axes = stack(panels, left=left, right=0.08, axis=0.12)
    for ax, heat in zip(axes, found, strict=True):
        _heat_map_panel(ax, heat, data.anchor)
    handles = [
        Patch(facecolor=FASTER, alpha=_DEEPEST, label="faster, at least twice"),
        Patch(facecolor=SLOWER, alpha=_DEEPEST, label="slower, at most half as fast"),
        Patch(facecolor=FASTER, alpha=0.15, label="faster, a little"),
        Patch(facecolor=MARGIN, label="same or unresolved"),
    ]
    bottom_legend(figure, handles, columns=2)
    return figure


def shade(judged: JudgedRecord) -> tuple[str, float]:
    """Return the colour of a measured case and how strong it is, from 0 to 1."""
    if judged.verdict not in ("faster", "slower"):
        return MARGIN, 1.0
    effect = abs(math.log(judged.speed_up.estimate))
    depth = _DEEPEST * (0.25 + 0.75 * min(1.0, effect / _FULL))
    return (FASTER if judged.verdict == "faster" else SLOWER), depth


def _heat_map_panel(ax: Axes, heat: HeatMap, anchor: Callable[[JudgedRecord], str]) -> None:
    models, rows = heat.models, heat.rows
    label_rows(ax, [row.name for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5 - 0.3 / _ROW)  # the models' names stand above the cells
    ax.set_xlim(-0.5, len(models) - 0.5)
    ax.xaxis.set_visible(False)
    ax.spines["bottom"].set_visible(False)
    cells = {(j.case.model, j.case.mode, j.case.precision): j for j in heat.cases}
    inches = 0.92 * ax.get_position().width * WIDTH_INCHES / len(models)
    for column, model in enumerate(models):
        name = shortened(model, inches, size=LABEL_SIZE)
        ax.text(column, -0.5 - 0.15 / _ROW, name, ha="center", va="center")
        for row, named in enumerate(rows):
            judged = cells.get((model, named.case.mode, named.case.precision))
            if judged is not None:
                with about_case(ax, anchor(judged)):
                    _cell(ax, column, row, judged)


def _cell(ax: Axes, column: int, row: int, judged: JudgedRecord) -> None:
    if not judged.competes:
        why = sentences.verdict(judged)
        ax.text(column, row, _SIGNS.get(why, why), ha="center", va="center", color=MUTED, size=8)
        return
    colour, depth = shade(judged)
    square = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=depth)
    square.set(edgecolor=SURFACE, linewidth=1.5)
    ax.add_patch(square)
    settled = judged.verdict in ("faster", "slower")
    ax.text(
        column,
        row,
        estimate(judged.speed_up),
        ha="center",
        va="center",
        size=8.5,
        weight="bold" if settled else "normal",
        color=INK if settled else MUTED,
    )


def _title(heat: HeatMap, data: ReportData) -> str:
    where = data.host_beside(heat.machine)
    return f"{heat.task} · batch {heat.batch_size:,} · {heat.device}{where}"
