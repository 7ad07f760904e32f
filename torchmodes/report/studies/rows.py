"""Rows of cases, and their names: what the figures of studies share."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from torchmodes.planning.cases import Case
from torchmodes.report.figures.panels import shortened, text_width
from torchmodes.results.records import Interval

ROW = 0.36
_LABEL_SIZE = 8.5
_WIDEST_LABEL = 2.2

Told = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]
"""What a study found: a text, and a table's heads and rows."""


def says_something(speed_up: Interval | None) -> bool:
    """Tell whether there is a speed-up whose interval says something."""
    return speed_up is not None and not speed_up.says_nothing


def row_label(case: Case) -> str:
    """Name a case on two lines."""
    mode = shortened(case.mode, _WIDEST_LABEL, size=_LABEL_SIZE)
    return f"{model_label(case)}\n{mode}"


def model_label(case: Case) -> str:
    """Name a case without its mode, as much of it as there is room for."""
    about = f" {case.task} b{case.batch_size}"
    room = _WIDEST_LABEL - text_width(about, size=_LABEL_SIZE)
    return shortened(case.model, room, size=_LABEL_SIZE) + about


def full_name(case: Case) -> str:
    """Name a case in one line."""
    return f"{case.model} {case.task} b{case.batch_size} · {case.mode}"


def label_width(labels: Sequence[str]) -> float:
    """Return the inches that labels take."""
    lines = [line for label in labels for line in label.splitlines()]
    return 0.16 + max(text_width(line, size=_LABEL_SIZE) for line in lines)


def label_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the rows of an axes, the first at the top."""
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), labels, size=_LABEL_SIZE)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
