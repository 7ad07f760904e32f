"""Eager and what is shipped, layer by layer: paired bars of the modules that both profiles tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from torchmodes.profiling.files import BY_HOOKS
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    LABEL_SIZE,
    Panel,
    bottom_legend,
    label_rows,
    label_width,
    shortened,
    stack,
    value_beside,
)
from torchmodes.report.figures.profiles import icicle, with_layers
from torchmodes.report.figures.step_parts import StepBar, share_axes, shipped_pairs
from torchmodes.report.formatting import group_name, ratio
from torchmodes.report.style import BASELINE, PALETTE, SURFACE

SHOWN = 10
"""Layers of a model that are drawn, the largest; the others are summed."""
MOST = 20
"""Layers that a level may have: finer ones would leave most of the step to the sum."""
REST = "all else"
_ROW = 0.38
_LABEL = 1.7
_SHIPPED: dict[str, Any] = {
    "facecolor": PALETTE["teal"],
    "hatch": "////",
    "edgecolor": SURFACE,
    "linewidth": 0.5,
}


@dataclass(frozen=True)
class LayerRow:
    """A layer in both modes: its share of eager's measured time, submodules included."""

    name: str
    eager: float
    shipped: float


@dataclass(frozen=True)
class PairedLayers:
    """The two modes of a group, and its rows; each mode's add up to its measured time."""

    eager: StepBar
    shipped: StepBar
    rows: tuple[LayerRow, ...]

    @property
    def title(self) -> str:
        """Of the panel."""
        return f"{group_name(self.eager.case)} · {self.shipped.name}"


def paired_layers(data: ReportData) -> list[PairedLayers]:
    """Return the groups whose eager and what is shipped, or else the fastest, share layers."""
    profiles = {profile.case: profile for profile in data.profiles}
    told = {profile.case for profile in with_layers(data)}
    return [
        PairedLayers(eager, shipped, rows)
        for eager, shipped in shipped_pairs(data, profiles)
        if {eager.case, shipped.case} <= told
        and (rows := _rows(eager, profiles[eager.case], shipped, profiles[shipped.case]))
    ]


def layers_missing(data: ReportData) -> list[str]:
    """Say of each group with two profiles why its layers cannot be compared."""
    profiles = {profile.case: profile for profile in data.profiles}
    paired = {pair.shipped.case for pair in paired_layers(data)}
    said = []
    for pair in shipped_pairs(data, profiles):
        if pair[1].case in paired:
            continue
        reasons = [
            f"{bar.case}: {str(profiles[bar.case].summary.get('layers')).removeprefix('none: ')}"
            for bar in pair
            if not len(profiles[bar.case].tables.get("layers", ()))
        ]
        said.append("; ".join(reasons) or f"{pair[1].case}: its layers are none of eager's")
    return said


def level_of_both(eager: pd.DataFrame, shipped: pd.DataFrame) -> list[str]:
    """Return the modules of the level that has the most of them, `MOST` at the most, as called.

    A module without submodules belongs to all levels below its own. Only modules count that both
    tables, each a ``layers.csv``, have.
    """
    cells = [cell for cell in icicle(eager) if cell.layer != "(model)"]
    around = {cell.layer.rpartition(".")[0] for cell in cells}
    around |= {name[:end] for name in around for end, c in enumerate(name) if c == "."}
    both, levels = set(shipped["layer"]), sorted({cell.level for cell in cells})
    cuts = [
        [
            cell.layer
            for cell in cells
            if cell.layer in both
            and (cell.level == level or (cell.level < level and cell.layer not in around))
        ]
        for level in levels
    ]
    return max((cut for cut in cuts if len(cut) <= MOST), key=len, default=[])


def _rows(
    eager: StepBar, of_eager: CaseProfile, shipped: StepBar, of_shipped: CaseProfile
) -> tuple[LayerRow, ...]:
    names = level_of_both(of_eager.tables["layers"], of_shipped.tables["layers"])
    before = eager.length * _shares(of_eager)
    after = shipped.length * _shares(of_shipped)
    largest = sorted(names, key=lambda name: -max(before[name], after[name]))[:SHOWN]
    shown = [name for name in names if name in largest]
    if not shown:
        return ()
    names = (shortened(name, _LABEL, size=LABEL_SIZE) for name in _without_common_part(shown))
    short = dict(zip(shown, names, strict=True))
    rows = [LayerRow(short[name], float(before[name]), float(after[name])) for name in shown]
    rest = LayerRow(
        REST,
        eager.length - sum(row.eager for row in rows),
        shipped.length - sum(row.shipped for row in rows),
    )
    return (*rows, rest)


def _shares(profile: CaseProfile) -> pd.Series:
    """Return each module's share of a step, by its name.

    A forward pass under hooks is a step of its own; operators are those of the lean recording, and
    so is a training step, of which hooks see the forward pass alone.
    """
    times = profile.tables["layers"].set_index("layer")["total_s"]
    model_s, step_s = float(times.get("(model)", 0.0)), float(profile.summary["lean"]["step_s"])
    under_hooks = profile.summary.get("layers") == BY_HOOKS and profile.case.task != "training"
    return times / (model_s if under_hooks and model_s else max(model_s, step_s))


def _without_common_part(names: Sequence[str]) -> list[str]:
    """Leave out the modules that all of some lie in."""
    words = [name.split(".") for name in names]
    levels = zip(*(each[:-1] for each in words), strict=False)
    common = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
    while common and any(each[common].isdigit() for each in words):
        common -= 1  # the number of a block says nothing by itself
    return [".".join(each[common:]) for each in words]


def draw_by_layer(data: ReportData) -> Figure:
    """Draw two bars a layer: eager's time above, that of what is shipped below."""
    pairs = paired_layers(data)
    figure, axes = stack(
        [Panel(pair.title, _ROW * len(pair.rows)) for pair in pairs],
        left=label_width(row.name for pair in pairs for row in pair.rows),
        right=0.6,
    )
    for ax, pair in zip(axes, pairs, strict=True):
        label_rows(ax, [row.name for row in pair.rows])
        ax.set_xlim(0, max(max(row.eager, row.shipped) for row in pair.rows))
        for place, row in enumerate(pair.rows):
            ax.barh(place - 0.19, row.eager, height=0.34, facecolor=BASELINE)
            ax.barh(place + 0.19, row.shipped, height=0.34, **_SHIPPED)
            faster = row.eager / row.shipped if row.eager > 0 and row.shipped > 0 else None
            value_beside(ax, place, ratio(faster))
    share_axes(axes)
    handles = [Patch(facecolor=BASELINE, label="eager"), Patch(**_SHIPPED, label="what is shipped")]
    bottom_legend(figure, handles, columns=2)
    return figure
