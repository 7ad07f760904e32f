"""The runs of each case over time: what one process measured, and the next."""

from __future__ import annotations

from datetime import UTC, datetime
from math import exp, log

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter, date2num
from matplotlib.figure import Figure

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Groups,
    Panel,
    divide,
    groups_with,
    label_width,
    name_beside,
    stack,
)
from torchmodes.report.figures.ratios import SMALL_TICKS, small_ratio_axis
from torchmodes.report.style import INK, look
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import CaseRun

_ROW = 0.52


def repeated(data: ReportData) -> Groups:
    """Return the groups with cases that were measured in several processes."""
    return groups_with(data, lambda judged: judged.measured and len(judged.record.runs) > 1)


def draw_runs(data: ReportData) -> Figure:
    """Draw the speed-up of each run against when it began: a small multiple for each case."""
    groups = repeated(data)
    panels = [Panel(title, _ROW * len(cases)) for title, cases in groups]
    left = SMALL_TICKS + label_width(c.name for _, cases in groups for c in cases)
    figure, axes = stack(panels, left=left, right=0.3, axis=0.66)
    for ax, (_, cases) in zip(axes, groups, strict=True):
        _small_multiples(ax, cases)
    return figure


def _small_multiples(ax: Axes, cases: list[JudgedRecord]) -> None:
    began = [_began(run) for judged in cases for run in judged.record.runs]
    clock = "%H:%M" if max(began) - min(began) < 1 else "%d %b\n%H:%M"
    rows = divide(ax, len(cases))
    spans = [abs(run.log_speed_up - _middle(c)) for c in cases for run in c.record.runs]
    for row, judged in zip(rows, cases, strict=True):
        _row(row, judged, span=max(spans))
    rows[-1].xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=5))
    rows[-1].xaxis.set_major_formatter(DateFormatter(clock, tz=UTC))
    rows[-1].set_xlabel("when a run began, UTC; left: times as fast as eager")


def _row(ax: Axes, judged: JudgedRecord, *, span: float) -> None:
    """Draw one case; the scales of a group's cases span the same share of their middles."""
    seen, runs, middle = look(judged.case.mode), judged.record.runs, _middle(judged)
    at = [_began(run) for run in runs]
    speed_ups = [exp(run.log_speed_up) for run in runs]
    small_ratio_axis(ax, middle, span=span)
    name_beside(ax, judged.name)
    ax.plot(at, speed_ups, color=seen.colour, linestyle=seen.line, linewidth=1)
    for x, y, run in zip(at, speed_ups, runs, strict=True):
        ax.plot(x, y, **seen.point(filled=not run.left_out), markersize=5.5)
    ax.axhline(1, color=INK, linewidth=0.9)
    ax.grid()


def _middle(judged: JudgedRecord) -> float:
    """Return the speed-up of all runs of a case, a logarithm."""
    return log(judged.speed_up.estimate)


def _began(run: CaseRun) -> float:
    """Return when a run began, in days."""
    return float(date2num(datetime.fromisoformat(run.run.started_at)))
