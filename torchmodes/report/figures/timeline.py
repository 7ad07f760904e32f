"""One step of eager and one of what is shipped, piece by piece on one axis."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torchmodes.profiling.operator_groups import group_of
from torchmodes.profiling.reading import CaseProfile
from torchmodes.profiling.timeline import STEP_ROW
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import Panel, bottom_legend, label_rows, label_width, stack
from torchmodes.report.figures.step_parts import (
    LOOKS,
    StepBar,
    part_handles,
    share_axes,
    shipped_pairs,
)
from torchmodes.report.formatting import group_name
from torchmodes.report.style import SURFACE

SLICES = 300
"""Of the whole axis: what is thinner could not be seen."""
_ROW = 0.42
_IDLE = "other"


def timeline_pairs(data: ReportData) -> list[tuple[StepBar, StepBar]]:
    """Return eager and what is shipped, or else the fastest, of each group that tells both."""
    told = {p.case for p in data.profiles if len(p.tables.get("timeline", ())) > 1}
    return shipped_pairs(data, told)


def slices_of(table: pd.DataFrame, count: int) -> list[str]:
    """Part a step, a profile's ``timeline.csv``, into slices named by what takes most of each.

    Where something ran on a GPU, that alone is shown.
    """
    whole = float(table.loc[table["operator"] == STEP_ROW, "end_s"].max())
    ran = table[table["operator"] != STEP_ROW]
    if (ran["where"] == "gpu").any():
        ran = ran[ran["where"] == "gpu"]
    edges = np.linspace(0, whole, count + 1)
    groups = ran["operator"].map(group_of)
    taken: dict[str, np.ndarray] = {}
    for group, rows in ran.groupby(groups, sort=True):
        before = np.sort(rows["start_s"]), np.sort(rows["end_s"])
        # Time of the group up to each edge: begun less what is over.
        begun, over = (np.maximum(edges[:, None] - at[None, :], 0).sum(axis=1) for at in before)
        taken[str(group)] = np.diff(begun - over)
    busy = np.sum(list(taken.values()), axis=0) if taken else np.zeros(count)
    taken[_IDLE] = np.maximum(whole / count - busy, 0)
    names = list(taken)
    return [names[place] for place in np.argmax(np.stack(list(taken.values())), axis=0)]


def draw_timeline(data: ReportData) -> Figure:
    """Draw the two steps of each group, as long as measured."""
    profiles = {profile.case: profile for profile in data.profiles}
    pairs = timeline_pairs(data)
    panels = [Panel(group_name(eager.case), 2 * _ROW) for eager, _ in pairs]
    left = label_width(bar.name for pair in pairs for bar in pair)
    figure, axes = stack(panels, left=left, right=0.3, axis=0.3)
    used: set[str] = set()
    for ax, pair in zip(axes, pairs, strict=True):
        label_rows(ax, [bar.name for bar in pair])
        longest = max(bar.length for bar in pair)
        ax.set_xlim(0, longest)
        for row, bar in enumerate(pair):
            used |= _row(ax, row, bar, profiles[bar.case], longest)
    share_axes(axes)
    bottom_legend(figure, part_handles(used), columns=2)
    return figure


def _row(ax: Axes, row: int, bar: StepBar, profile: CaseProfile, longest: float) -> set[str]:
    """Draw a step; return the groups that it shows."""
    count = max(1, round(SLICES * bar.length / longest))
    names = slices_of(profile.tables["timeline"], count)
    width = bar.length / count
    bounds = [0, *(i for i in range(1, count) if names[i] != names[i - 1]), count]
    runs = [(names[i], i * width, (j - i) * width) for i, j in pairwise(bounds)]
    for name in sorted({name for name, _, _ in runs}):
        _, colour, hatch = LOOKS[name]
        ax.broken_barh(
            [(start, length) for found, start, length in runs if found == name],
            (row - 0.36, 0.72),
            facecolor=colour,
            hatch=hatch,
            edgecolor=SURFACE,
            linewidth=0.0,
        )
    return set(names)
