"""Stacked panels of labelled rows: the layout that most figures share.

Every length is in inches, so that a row is as high with six cases as with three hundred.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Locator, NullLocator

from torchmodes.report.data import ReportData
from torchmodes.report.formatting import group_name
from torchmodes.report.recommendation import group_cases
from torchmodes.report.style import INK, MUTED, WIDTH_INCHES, look
from torchmodes.report.verdicts import JudgedRecord

TITLE = 0.36
AXIS = 0.5
VALUE = 2.0
"""Inches beside a row for a ratio, its interval and how it came out."""
LEGEND_ROW = 0.22
TITLE_SIZE = 9.5
LABEL_SIZE = 9.0
LEGEND_SIZE = 8.5
CASE_ID = "case:"
"""What the id of an element that is about one case begins with."""
_LINE = 1.25
"""Height of a line of text, in its size."""
_MARGIN = 0.06
_GAP = 0.1
"""Inches between small multiples."""
_WIDER = 1.06
_WIDEST_LABEL = 1.75
_AT_THE_LEFT: dict[str, Any] = {"ha": "right", "va": "center", "multialignment": "right"}
_HANDLE = 0.5
"""Inches of a legend's entry that are not text."""


@dataclass(frozen=True)
class Panel:
    """One axes of a figure and how high its plotting area is."""

    title: str
    height: float


def stack(
    panels: Sequence[Panel], *, left: float, right: float, axis: float = AXIS
) -> tuple[Figure, list[Axes]]:
    """Stack panels from the top; the titles take what room they need.

    In inches: `left` and `right` of the plotting areas, for labels and values, and `axis` below
    each.
    """
    width = WIDTH_INCHES
    titles = [
        wrapped(panel.title, width - 2 * _MARGIN, size=TITLE_SIZE, bold=True) for panel in panels
    ]
    heights = [TITLE + (len(lines) - 1) * TITLE_SIZE * _LINE / 72 for lines in titles]
    total = sum(panel.height + axis for panel in panels) + sum(heights)
    figure = Figure(figsize=(width, total))
    axes, top = [], total
    for panel, lines, height in zip(panels, titles, heights, strict=True):
        top -= height + panel.height
        box = (left / width, top / total, (width - left - right) / width, panel.height / total)
        axes.append(figure.add_axes(box))
        figure.text(
            _MARGIN / width,
            (top + panel.height + 0.12) / total,
            "\n".join(lines),
            weight="bold",
            size=TITLE_SIZE,
            linespacing=_LINE,
            ha="left",
            va="bottom",
        )
        top -= axis
    return figure, axes


def divide(ax: Axes, count: int) -> list[Axes]:
    """Put several axes in the place of one from `stack`, from the top.

    They share their x axis; the last alone names it.
    """
    figure, box = ax.get_figure(), ax.get_position()
    assert isinstance(figure, Figure)
    ax.remove()
    space = _GAP / figure.get_size_inches()[1]
    height = (box.height - (count - 1) * space) / count
    found: list[Axes] = []
    for row in range(count):
        bottom = box.y1 - (row + 1) * height - row * space
        shared = found[0] if found else None
        found.append(figure.add_axes((box.x0, bottom, box.width, height), sharex=shared))
    for upper in found[:-1]:
        upper.tick_params(labelbottom=False)
    return found


def name_beside(ax: Axes, name: str) -> None:
    """Write a case's name at the left of a small multiple, before its axis."""
    ax.text(-_points(ax, 34), 0.5, row_label(name), transform=ax.transAxes, **_AT_THE_LEFT)


def point_names_width(names: Iterable[str]) -> float:
    """Return the inches that `names_at_points` takes at the right."""
    return 0.26 + max(text_width(_point_name(name), size=LABEL_SIZE) for name in names)


def names_at_points(ax: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Name points (in data) at the right of an axes, each with a line to it; no name overlaps.

    The axes has its scales and limits already.
    """
    height = ax.get_position().height * ax.get_figure().get_size_inches()[1]  # ty: ignore
    line = LABEL_SIZE * _LINE / 72 / height
    inside = ax.transAxes.inverted()
    places = [tuple(inside.transform(ax.transData.transform(point))) for point in points]
    order = sorted(range(len(places)), key=lambda i: places[i][1])
    beside = _apart([places[i][1] for i in order], gap=line)
    for i, y in zip(order, beside, strict=True):
        ax.annotate(
            _point_name(names[i]),
            xy=places[i],
            xytext=(1 + _points(ax, 9), y),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            ha="left",
            size=LABEL_SIZE,
            arrowprops={
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.8,
                "linestyle": ":",
                "shrinkB": 4,
            },
        )


def _point_name(name: str) -> str:
    return shortened(name, _WIDEST_LABEL, size=LABEL_SIZE)


def _apart(values: Sequence[float], *, gap: float) -> list[float]:
    """Move rising values as little as it takes to keep them a gap apart, around their middle."""
    merged: list[list[float]] = []  # the middle of a block of values, and how many are in it
    for value in values:
        merged.append([value, 1.0])
        while len(merged) > 1 and (
            merged[-1][0] - merged[-2][0] < gap * (merged[-1][1] + merged[-2][1]) / 2
        ):
            upper, lower = merged.pop(), merged.pop()
            count = upper[1] + lower[1]
            merged.append([(upper[0] * upper[1] + lower[0] * lower[1]) / count, count])
    return [
        middle + gap * (place - (count - 1) / 2)
        for middle, count in merged
        for place in range(int(count))
    ]


def message_figure(message: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    lines = wrapped(message, WIDTH_INCHES - 0.4, size=LABEL_SIZE)
    figure = Figure(figsize=(WIDTH_INCHES, 0.8 + len(lines) * LABEL_SIZE * _LINE / 72))
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", color=MUTED)
    return figure


def make_rows(ax: Axes, count: int) -> None:
    """Make an axes one of rows without names, the first at the top."""
    ax.set_ylim(count - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of an axes, the first at the top, and take all else off that side.

    The names are plain texts: an axis makes six objects of every tick, and a run has many rows.
    """
    make_rows(ax, len(names))
    for row, name in enumerate(names):
        label_row(ax, row, name)


def label_row(ax: Axes, row: int, name: str) -> None:
    """Name one row."""
    beside = ax.get_yaxis_transform()
    ax.text(-_points(ax, 7), row, row_label(name), transform=beside, **_AT_THE_LEFT)


@contextmanager
def about_case(ax: Axes, anchor: str) -> Generator[None]:
    """Name what is drawn meanwhile by its case's `ReportData.anchor`: the page's filters find it.

    In the SVG it is an id ``case:{anchor}:{number}``, since one is unique.
    """
    before = set(ax.get_children())
    yield
    drawn = [artist for artist in ax.get_children() if artist not in before]
    for number, artist in enumerate(drawn):
        artist.set_gid(f"{CASE_ID}{anchor}:{number}")


def row_label(name: str) -> str:
    """Return a name on two lines at the most, without its middle where it is longer."""
    lines = wrapped(name, _WIDEST_LABEL, size=LABEL_SIZE)
    if len(lines) > 2:
        half = len(lines[0])
        lines = [name[:half], shortened(f"…{name[-half:]}", _WIDEST_LABEL, size=LABEL_SIZE)]
    return "\n".join(lines)


def label_width(names: Iterable[str]) -> float:
    """Return the inches that the widest row label takes."""
    lines = {line for name in names for line in row_label(name).splitlines()}
    return 0.16 + max((text_width(line, size=LABEL_SIZE) for line in lines), default=0.0)


@cache
def text_width(text: str, *, size: float, bold: bool = False) -> float:
    """Return the inches that a line takes at the most, in the font of the files.

    Where pixels are drawn, each letter may be a little wider; a page's own font is narrower.
    """
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    points, *_ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return _WIDER * points / 72


def wrapped(text: str, inches: float, *, size: float, bold: bool = False) -> list[str]:
    """Break a text into lines of a width, at spaces and hyphens where there are any."""
    whole = text_width(text, size=size, bold=bold)
    if whole <= inches:
        return [text]
    for characters in range(len(text), 0, -1):
        lines = textwrap.wrap(text, characters)
        if all(text_width(line, size=size, bold=bold) <= inches for line in lines):
            return lines
    return list(text)


def shortened(text: str, inches: float, *, size: float) -> str:
    """Return a text in one line of a width: what is too much goes from its middle.

    Names often differ at their ends alone.
    """
    if text_width(text, size=size) <= inches:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: math.ceil(kept / 2)]}…{text[len(text) - kept // 2 :]}"
        if text_width(short, size=size) <= inches:
            return short
    return "…"


def counted(item: str) -> str:
    """Return the plural of what a batch counts, short enough for any axis."""
    return f"{shortened(item, 0.75, size=LABEL_SIZE)}s"


def value_beside(
    ax: Axes, row: float, text: str, *, strong: bool = False, size: float = 8.5
) -> None:
    """Write a row's value at the right of the plotting area."""
    ax.text(
        1 + _points(ax, 7),
        row,
        text,
        transform=ax.get_yaxis_transform(),
        va="center",
        ha="left",
        size=size,
        weight="bold" if strong else "normal",
        color=INK if strong else MUTED,
    )


def ticks(axis: Axis, locator: Locator, write: Callable[[float], str]) -> None:
    """Place ticks, written as told, and none between them."""
    axis.set_major_locator(locator)
    axis.set_major_formatter(lambda value, _: write(value))
    axis.set_minor_locator(NullLocator())


def _points(ax: Axes, points: float) -> float:
    """Return a length in points as a share of the plotting area's width."""
    return points / 72 / (WIDTH_INCHES * ax.get_position().width)


Groups = list[tuple[str, list[JudgedRecord]]]
"""What a figure shows of some groups: of each a title, and its cases."""


def groups_with(data: ReportData, shown: Callable[[JudgedRecord], bool]) -> Groups:
    """Return the groups that have cases to show, in order for reading: eager, then the others.

    The title names the machine among several: ``gpt2 · inference · batch 8 · cpu``.
    """
    found = []
    for group in group_cases(data.cases):
        if cases := list(filter(shown, group.cases)):
            case, where = cases[0].case, data.host_beside(group.deployment.machine)
            cases.sort(key=lambda judged: (not judged.case.is_baseline, judged.case))
            found.append((f"{group_name(case)} · {case.device}{where}", cases))
    return found


def bottom_legend(figure: Figure, handles: Sequence[Any], *, columns: int) -> None:
    """Put a legend below all panels of a figure from `stack`, which grows by its rows.

    Of the columns there are fewer where names are long.
    """
    labels = [str(handle.get_label()) for handle in handles]
    while columns > 1 and _legend_width(labels, columns) > WIDTH_INCHES:
        columns -= 1
    lines = [wrapped(label, WIDTH_INCHES - _HANDLE, size=LEGEND_SIZE) for label in labels]
    for handle, broken in zip(handles, lines, strict=True):
        handle.set_label("\n".join(broken))
    rows = math.ceil(len(handles) / columns) if columns > 1 else sum(map(len, lines))
    _grow(figure, 0.02 + rows * LEGEND_ROW)
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


def _legend_width(labels: Sequence[str], columns: int) -> float:
    """Return the inches of a legend, whose columns are filled one after the other."""
    filled = np.array_split(labels, columns)
    return sum(
        _HANDLE + max(text_width(str(label), size=LEGEND_SIZE) for label in column)
        for column in filled
        if len(column)
    )


def _grow(figure: Figure, inches: float) -> None:
    """Make a figure higher at its bottom; everything else keeps its size."""
    width, before = figure.get_size_inches()
    after = before + inches
    for ax in figure.axes:
        box = ax.get_position()
        ax.set_position(
            (box.x0, (box.y0 * before + inches) / after, box.width, box.height * before / after)
        )
    for text in figure.texts:
        text.set_y((text.get_position()[1] * before + inches) / after)
    figure.set_size_inches(width, after)


def mode_handle(mode: str, *, line: Any = None, name: str | None = None) -> Line2D:
    """Return the legend entry of a mode, by another name or line where one is given."""
    curve = look(mode).curve
    return Line2D([], [], **curve | ({"linestyle": line} if line else {}), label=name or mode)
