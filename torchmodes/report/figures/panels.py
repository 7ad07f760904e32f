"""Stacked panels of labelled rows: the layout that most figures share.

Every length is in inches, so that a row is as high with six cases as with three hundred.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from torchmodes.report.advice import Group
from torchmodes.report.judging import Judged
from torchmodes.report.style import INK, MUTED, SURFACE, WIDTH_INCHES, look

TITLE = 0.36
AXIS = 0.5
LEGEND_ROW = 0.22
_CHARACTER = 0.078
_WIDEST_LABEL = 22


@dataclass(frozen=True)
class Panel:
    """One axes of a figure and how high its plotting area is."""

    title: str
    height: float


class Named(Protocol):
    """What a row is about: anything with a name."""

    @property
    def name(self) -> str:
        """What stands beside the row."""
        ...


def stack(
    panels: Sequence[Panel],
    *,
    left: float,
    right: float,
    legend_rows: int = 0,
    axis: float = AXIS,
) -> tuple[Figure, list[Axes]]:
    """Stack panels with room for their titles, axes and a legend at the bottom.

    Parameters
    ----------
    panels
        From the top.
    left, right
        Inches beside the plotting area, for labels and values.
    legend_rows
        Rows of the legend below everything.
    axis
        Inches below each plotting area, for its axis.
    """
    legend = 0.02 + legend_rows * LEGEND_ROW if legend_rows else 0.0
    total = sum(panel.height + TITLE + axis for panel in panels) + legend
    figure = Figure(figsize=(WIDTH_INCHES, total))
    axes, top = [], total
    for panel in panels:
        top -= TITLE + panel.height
        box = (
            left / WIDTH_INCHES,
            top / total,
            (WIDTH_INCHES - left - right) / WIDTH_INCHES,
            panel.height / total,
        )
        ax = figure.add_axes(box)
        figure.text(
            0.012,
            (top + panel.height + 0.12) / total,
            panel.title,
            weight="bold",
            size=9.5,
            ha="left",
            va="bottom",
        )
        axes.append(ax)
        top -= axis
    return figure, axes


def message_figure(message: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure = Figure(figsize=(WIDTH_INCHES, 1.0))
    figure.text(0.5, 0.5, textwrap.fill(message, 60), ha="center", va="center", color=MUTED)
    return figure


def label_rows(ax: Axes, cases: Sequence[Named]) -> None:
    """Name the rows of an axes, the first at the top, and take all else off that side.

    The names are plain texts: an axis makes six objects of every tick, and a run has many rows.
    """
    ax.set_ylim(len(cases) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    beside = ax.get_yaxis_transform()
    for row, case in enumerate(cases):
        ax.text(
            *(-_points(ax, 7), row, row_label(case)),
            transform=beside,
            ha="right",
            va="center",
            multialignment="right",
        )


def row_label(case: Named) -> str:
    """Return a case's name on two lines at the most."""
    return "\n".join(
        textwrap.wrap(case.name, _WIDEST_LABEL, max_lines=2, placeholder="…") or [case.name]
    )


def short_label(name: str, width: int) -> str:
    """Return a name cut to a width in characters."""
    return name if len(name) <= width else f"{name[: width - 1]}…"


def label_width(cases: Iterable[Named]) -> float:
    """Return the inches that the widest row label takes."""
    widest = max((len(line) for c in cases for line in row_label(c).splitlines()), default=0)
    return 0.16 + widest * _CHARACTER


def value_beside(
    ax: Axes, row: float, text: str, *, strong: bool = False, size: float = 8.5
) -> None:
    """Write a row's value at the right of the plotting area."""
    ax.text(
        *(1 + _points(ax, 7), row, text),
        transform=ax.get_yaxis_transform(),
        va="center",
        ha="left",
        size=size,
        weight="bold" if strong else "normal",
        color=INK if strong else MUTED,
    )


def _points(ax: Axes, points: float) -> float:
    """Return a length in points as a share of the plotting area's width."""
    return points / 72 / (WIDTH_INCHES * ax.get_position().width)


def group_title(group: Group, *, several: bool = False) -> str:
    """Name a group, and its machine among several: ``gpt2 · inference · batch 8 · cpu``."""
    subject = group.subject
    where = f" · {subject.machine.host}" if several and subject.machine.host else ""
    return (
        f"{subject.model} · {subject.task} · batch {group.batch_size:,} · {subject.device}{where}"
    )


def in_order(cases: Iterable[Judged]) -> list[Judged]:
    """Order the cases of a group for reading: eager, then by mode and precision."""
    return sorted(cases, key=lambda judged: (not judged.case.is_baseline, judged.case))


def bottom_legend(figure: Figure, handles: Sequence[Any], *, columns: int) -> None:
    """Put a legend below all panels."""
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=columns,
        handlelength=2.2,
        columnspacing=1.4,
        handletextpad=0.6,
        labelspacing=0.35,
        borderaxespad=0.25,
    )


def mode_handle(mode: str, *, line: bool = True, name: str | None = None) -> Line2D:
    """Return the legend entry of a mode, by another name where one is given."""
    seen = look(mode)
    return Line2D(
        [],
        [],
        color=seen.colour,
        marker=seen.marker,
        linestyle=seen.line if line else "none",
        markersize=5,
        markeredgecolor=SURFACE,
        markeredgewidth=0.6,
        label=name or mode,
    )
