"""The roofline: what each profiled case reaches of what the machine allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from torchmodes.planning.cases import Case, parse_case
from torchmodes.profiling.roofline import Roof, roof_of
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    mode_handle,
    shortened,
    stack,
    ticks,
)
from torchmodes.report.style import INK, MUTED, look

_HEIGHT = 2.6
_WIDEST_NAME = 0.8

Placed = tuple[Case, Mapping[str, Any]]


def placed_points(data: ReportData) -> list[Placed]:
    """Return the points that have a place in the figure, each with its case."""
    points = data.roofline.get("points", [])
    return [(parse_case(point["case"]), point) for point in points if point["share"] is not None]


def draw_roofline(data: ReportData) -> Figure:
    """Draw the roofs of each device and the cases under them."""
    points = placed_points(data)
    devices = sorted({case.device for case, _ in points})
    panels = [Panel(f"roofline · {device}", _HEIGHT) for device in devices]
    figure, axes = stack(panels, left=0.8, right=0.3)
    for ax, device in zip(axes, devices, strict=True):
        here = [(case, point) for case, point in points if case.device == device]
        _panel(ax, here, data.roofline["machines"][device])
    modes = dict.fromkeys(case.mode for case, _ in points)
    bottom_legend(figure, [mode_handle(mode, line="none") for mode in modes], columns=3)
    return figure


def _panel(ax: Axes, points: list[Placed], machine: Mapping[str, Any]) -> None:
    precisions = sorted({case.precision for case, _ in points})
    roofs = {name: roof for name in precisions if (roof := roof_of(machine, name))}
    intensities = [point["intensity"] for _, point in points]
    ridges = [roof.ridge for roof in roofs.values()]
    low, high = min(intensities + ridges) / 4, max(intensities + ridges) * 4
    for name, roof in roofs.items():
        _roof(ax, roof, name, low, high)
    for case, point in points:
        (mark,) = ax.plot(point["intensity"], point["flops_per_s"] / 1e9, **look(case.mode).curve)
        mark.set(linestyle="none", markersize=6)
    _name_groups(ax, points)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    reached = [point["flops_per_s"] / 1e9 for _, point in points]
    ax.set_ylim(bottom=min(*reached, *(roof.attainable(low) / 1e9 for roof in roofs.values())) / 4)
    for axis in (ax.xaxis, ax.yaxis):
        ticks(axis, LogLocator(10, subs=(1, 2, 5), numticks=7), lambda value: f"{value:g}")
    ax.grid(which="major")
    ax.set_xlabel("floating-point operations per compulsory byte")
    ax.set_ylabel("GFLOP/s")


def _roof(ax: Axes, roof: Roof, name: str, low: float, high: float) -> None:
    x = np.array([low, roof.ridge, high])
    ax.plot(x, [roof.attainable(value) / 1e9 for value in x], color=INK, linewidth=1.2)
    ax.annotate(
        f"{name}: {roof.flops_per_s / 1e9:,.0f} GFLOP/s",
        (high, roof.flops_per_s / 1e9),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        size=7.5,
        color=MUTED,
    )


def _name_groups(ax: Axes, points: list[Placed]) -> None:
    """Name each model and batch size once, beside the slowest of its modes."""
    lowest: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for case, point in points:
        key = (case.task, case.model, case.batch_size)
        if key not in lowest or point["flops_per_s"] < lowest[key]["flops_per_s"]:
            lowest[key] = point
    # Names stand left of their point's line, lower the further right: none crosses another.
    ordered = sorted(lowest.items(), key=lambda named: -named[1]["intensity"])
    step = min(0.085, 0.5 / len(ordered))
    for rank, ((_, model, batch_size), point) in enumerate(ordered):
        ax.annotate(
            f"{shortened(model, _WIDEST_NAME, size=7.5)} b{batch_size}",
            (point["intensity"], point["flops_per_s"] / 1e9),
            xytext=(point["intensity"], 0.05 + step * rank),
            textcoords=("data", "axes fraction"),
            arrowprops={
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.6,
                "relpos": (1, 0.5),
                "shrinkA": 1,
                "shrinkB": 5,
            },
            ha="right",
            va="center",
            size=7.5,
            color=MUTED,
        )
