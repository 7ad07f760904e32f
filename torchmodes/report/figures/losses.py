"""Loss curves of all modes over each other: where they are right, they coincide."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator

from torchmodes.report.data import ReportData, TrainingRun
from torchmodes.report.figures.panels import Panel, bottom_legend, mode_handle, stack, ticks
from torchmodes.report.style import SURFACE, look

_WIDEST, _THINNEST = 7.0, 1.2
_MARKS = 5


def draw_losses(data: ReportData) -> Figure:
    """Draw the training loss per epoch, and each mode's distance from eager.

    Curves that coincide would hide each other: the first is drawn widest and each next one thinner
    on top of it, and each carries its markers at epochs of its own.
    """
    runs, found = trained(data), distances(data)
    panels = [Panel("training loss", 1.6)]
    if found:
        panels.append(Panel("training loss: relative difference from eager", 1.4))
    figure, axes = stack(panels, left=0.78, right=0.2)
    _loss_panel(axes[0], runs)
    if found:
        _distance_panel(axes[1], found)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.grid()
    bottom_legend(figure, [mode_handle(run.mode) for run in runs], columns=3)
    return figure


def trained(data: ReportData) -> list[TrainingRun]:
    """Return the trainings that have a history."""
    return [run for run in data.trainings if run.metrics.status == "ok" and len(run.history)]


def distances(data: ReportData) -> dict[str, pd.Series]:
    """Return |loss − eager's| / eager's of each other mode's training loss, by the epochs of both.

    An epoch in which eager's loss is zero, or one of the two is no number, has none.
    """
    runs = trained(data)
    eager = next((run for run in runs if run.mode == "eager"), None)
    return {run.mode: _distance(eager, run) for run in runs if eager and run is not eager}


def _distance(reference: TrainingRun, run: TrainingRun) -> pd.Series:
    losses = [one.history.set_index("epoch")["train_loss"] for one in (reference, run)]
    both = pd.concat(losses, axis=1, join="inner", keys=["expected", "found"])
    both = both[np.isfinite(both).all(axis=1) & (both["expected"] > 0)]
    return (both["found"] - both["expected"]).abs() / both["expected"]


def _loss_panel(ax: Axes, runs: list[TrainingRun]) -> None:
    widths = np.linspace(_WIDEST, _THINNEST, len(runs)) if len(runs) > 1 else [1.8]
    for index, (run, width) in enumerate(zip(runs, widths, strict=True)):
        seen = look(run.mode)
        epochs = len(run.history)
        every = max(1, epochs // _MARKS)
        ax.plot(
            run.history["epoch"],
            run.history["train_loss"],
            color=seen.colour,
            linewidth=width,
            solid_capstyle="round",
            marker=seen.marker,
            markevery=(round(index * every / len(runs)), every),
            markersize=max(5.0, width + 1.5),
            markeredgecolor=SURFACE,
            markeredgewidth=0.7,
        )
    ax.set_yscale("log")
    ticks(ax.yaxis, LogLocator(10, subs=(1, 2, 5), numticks=6), lambda value: f"{value:g}")
    ax.set_ylabel("MSE, z-scored")


def _distance_panel(ax: Axes, found: dict[str, pd.Series]) -> None:
    for mode, distance in found.items():
        seen = look(mode)
        ax.plot(
            distance.index,
            distance,
            color=seen.colour,
            linestyle=seen.line,
            marker=seen.marker,
            markersize=4,
            markevery=max(1, len(distance) // _MARKS),
            clip_on=False,
        )
    ax.set_yscale("symlog", linthresh=1e-8)
    largest = max(max(distance, default=0.0) for distance in found.values())
    ax.set_ylim(0, max(1e-6, largest * 3))
    decades = FixedLocator([0, 1e-8, 1e-6, 1e-4, 1e-2, 1])
    ticks(ax.yaxis, decades, lambda value: f"{value:.0e}" if value else "0")
    ax.set_ylabel("|difference|")
