"""A figure for each study, drawn from what its file holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from torchmodes.planning.cases import Case, case_from
from torchmodes.report import style
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    counted,
    message_figure,
    mode_handle,
    shortened,
    stack,
    text_width,
    value_beside,
)
from torchmodes.report.formatting import duration, ratio
from torchmodes.report.style import GRID, INK, MUTED, PALETTE, SURFACE, look
from torchmodes.results.records import Interval

_ROW = 0.36
_LABEL_SIZE = 8.5
_WIDEST_LABEL = 2.2
_VARIANTS = {
    "automatic": ("blue", "o"),
    "dynamic": ("green", "s"),
    "static": ("vermilion", "^"),
    "mark_dynamic": ("violet", "D"),
}

Rows = Sequence[Mapping[str, Any]]


def draw_study(name: str, content: Mapping[str, Any]) -> Figure:
    """Draw what a study found; one that has nothing to show says so.

    Raises
    ------
    ValueError
        When there is no study of that name.
    """
    if name not in DRAWN:
        raise ValueError(f"no study is called {name!r}; there are {', '.join(DRAWN)}")
    rows = content.get("series" if name == "batch_scaling" else "cases") or []
    with style.figure_style():
        return DRAWN[name](rows) or message_figure("No case of this study ran.")


def _compile_cost(rows: Rows) -> Figure | None:
    """Draw two bars a case: a cold start and a warm one."""
    rows = [row for row in rows if row.get("cold_s") and row.get("warm_s")]
    if not rows:
        return None
    labels = [_label(case_from(row["case"])) for row in rows]
    figure, (ax,) = stack(
        [Panel("seconds until the first result", _ROW * len(rows))],
        left=_label_width(labels),
        right=0.95,
        legend_rows=1,
    )
    for y, row in enumerate(rows):
        colour = look(row["case"]["mode"]).colour
        ax.barh(y - 0.19, row["cold_s"], height=0.34, color=colour)
        ax.barh(y + 0.19, row["warm_s"], height=0.34, color=colour, alpha=0.45)
        value_beside(ax, y - 0.19, duration(row["cold_s"]), size=7.5)
        value_beside(ax, y + 0.19, duration(row["warm_s"]), size=7.5)
    ax.set_xlim(left=0)
    _label_rows(ax, labels)
    ax.set_xlabel("preparation and first call, s")
    bottom_legend(
        figure,
        [
            Patch(facecolor=MUTED, label="empty compile cache"),
            Patch(facecolor=MUTED, alpha=0.45, label="filled by a first start"),
        ],
        columns=2,
    )
    return figure


def _inference_context(rows: Rows) -> Figure | None:
    """Draw each context's speed against inference_mode, with its interval."""
    rows = [row for row in rows if _tells(row.get("speed_up"))]
    if not rows:
        return None
    labels = [_context_label(row) for row in rows]
    figure, (ax,) = stack(
        [Panel("speed against inference_mode (below 1: slower)", _ROW * len(rows))],
        left=_label_width(labels),
        right=0.75,
    )
    for y, row in enumerate(rows):
        speed_up, seen = row["speed_up"], look(row["case"]["mode"])
        low, high = (speed_up[end] or speed_up["estimate"] for end in ("low", "high"))
        ax.plot([low, high], [y, y], color=seen.colour, linewidth=2)
        resolved = row.get("verdict") in ("faster", "slower")
        ax.plot(
            speed_up["estimate"],
            y,
            marker="o",
            color=seen.colour,
            markerfacecolor=seen.colour if resolved else SURFACE,
        )
        value_beside(ax, y, ratio(speed_up["estimate"]), strong=resolved)
    ax.axvline(1, color=INK, linewidth=1)
    _label_rows(ax, labels)
    ax.set_xlabel("time in inference_mode / time in this context")
    return figure


def _batch_scaling(rows: Rows) -> Figure | None:
    """Draw latency and throughput against batch size, a pair of panels for each model."""
    rows = [row for row in rows if len(_measured(row)) > 0]
    if not rows:
        return None
    models = sorted({(row["model"], row["task"], row["device"]) for row in rows})
    panels = [
        Panel(f"{model} · {task} · {device}: {what}", 1.6)
        for model, task, device in models
        for what in ("latency", "throughput (the knee is ringed)")
    ]
    modes = sorted({row["mode"] for row in rows}, key=lambda mode: (mode != "eager", mode))
    figure, axes = stack(panels, left=0.85, right=0.2, legend_rows=math.ceil(len(modes) / 3))
    for index, model in enumerate(models):
        mine = [row for row in rows if (row["model"], row["task"], row["device"]) == model]
        latency, throughput = axes[2 * index : 2 * index + 2]
        sizes = sorted({p["batch_size"] for row in mine for p in _measured(row)})
        for row in mine:
            seen, points = look(row["mode"]), _measured(row)
            shape: dict[str, Any] = {
                "color": seen.colour,
                "marker": seen.marker,
                "linestyle": seen.line,
                "markersize": 5,
            }
            x = [point["batch_size"] for point in points]
            latency.plot(x, [point["latency_s"] for point in points], **shape)
            throughput.plot(x, [point["throughput_per_s"] for point in points], **shape)
            for point in points:
                if point["batch_size"] == row["knee"]:
                    throughput.plot(
                        *(point["batch_size"], point["throughput_per_s"]),
                        marker="o",
                        markersize=11,
                        markerfacecolor="none",
                        markeredgecolor=seen.colour,
                    )
        for ax in (latency, throughput):
            _log_axes(ax, sizes)
        latency.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        throughput.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
        )
        latency.set_ylabel("median latency")
        throughput.set_ylabel(f"{counted(mine[0]['item'])} per second")
    bottom_legend(figure, [mode_handle(mode) for mode in modes], columns=3)
    return figure


def _thread_scaling(rows: Rows) -> Figure | None:
    """Draw the speed-up over one thread against the number of threads."""
    rows = [row for row in map(_telling_points, rows) if row["points"]]
    if not rows:
        return None
    counts = sorted({point["threads"] for row in rows for point in row["points"]})
    figure, (ax,) = stack(
        [Panel("speed-up over one thread", 2.2)],
        left=0.7,
        right=0.2,
        legend_rows=math.ceil((len(rows) + 1) / 2),
    )
    colours = [*PALETTE.values()]
    handles = [Line2D([], [], color=MUTED, linestyle=(0, (3, 2)), label="ideal")]
    ax.plot(counts, counts, color=MUTED, linestyle=(0, (3, 2)), linewidth=1)
    for index, row in enumerate(rows):
        colour = colours[index % len(colours)]
        points = row["points"]
        x = [point["threads"] for point in points]
        y = [point["speed_up"]["estimate"] for point in points]
        ax.plot(x, y, color=colour, marker="os^Dv"[index % 5], markersize=5)
        for point in points:
            bounds = [point["speed_up"]["low"], point["speed_up"]["high"]]
            if None not in bounds:
                ax.plot([point["threads"]] * 2, bounds, color=colour, linewidth=2)
        label = _full_name(case_from(row["case"]))
        handles.append(Line2D([], [], color=colour, marker="os^Dv"[index % 5], label=label))
    ax.set_xticks(counts)
    ax.set_xlabel("threads")
    ax.set_ylabel("times faster")
    ax.set_ylim(bottom=0)
    ax.grid()
    bottom_legend(figure, handles, columns=2)
    return figure


def _telling_points(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "points": [p for p in row.get("points") or [] if _tells(p["speed_up"])]}


def _tells(speed_up: Mapping[str, Any] | None) -> bool:
    """Tell whether there is a speed-up whose interval says something."""
    return speed_up is not None and not Interval(**speed_up).says_nothing


def _dynamic_shapes(rows: Rows) -> Figure | None:
    """Draw the seconds of every call in order: what stands out is compilation."""
    rows = [row for row in rows if row.get("calls") and row.get("drop_last") is not True]
    if not rows:
        return None
    cases = sorted({case_from(row["case"]) for row in rows})
    figure, axes = stack(
        [Panel(_full_name(case), 2.0) for case in cases],
        left=0.85,
        right=0.2,
        legend_rows=1,
    )
    for ax, case in zip(axes, cases, strict=True):
        for row in rows:
            if case_from(row["case"]) == case:
                colour, marker = _VARIANTS[row["variant"]]
                ax.plot(
                    range(1, len(row["calls"]) + 1),
                    [call["seconds"] for call in row["calls"]],
                    color=PALETTE[colour],
                    marker=marker,
                    markersize=3.5,
                    linewidth=1,
                )
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(
            "call (an epoch's last batch is smaller)"
            if case.task == "training"
            else f"call (batch sizes 1 to {case.batch_size}, twice)"
        )
        ax.set_ylabel("seconds")
        ax.grid(axis="y", color=GRID)
    bottom_legend(
        figure,
        [
            Line2D([], [], color=PALETTE[colour], marker=marker, markersize=4, label=variant)
            for variant, (colour, marker) in _VARIANTS.items()
        ],
        columns=4,
    )
    return figure


DRAWN: dict[str, Callable[[Rows], Figure | None]] = {
    "batch_scaling": _batch_scaling,
    "compile_cost": _compile_cost,
    "dynamic_shapes": _dynamic_shapes,
    "inference_context": _inference_context,
    "thread_scaling": _thread_scaling,
}


def _measured(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [point for point in row["points"] if point["latency_s"] is not None]


def _context_label(row: Mapping[str, Any]) -> str:
    return f"{_subject(case_from(row['case']))}\n{row['context']}"


def _label(case: Case) -> str:
    mode = shortened(case.mode, _WIDEST_LABEL, size=_LABEL_SIZE)
    return f"{_subject(case)}\n{mode}"


def _subject(case: Case) -> str:
    about = f" {case.task} b{case.batch_size}"
    room = _WIDEST_LABEL - text_width(about, size=_LABEL_SIZE)
    return shortened(case.model, room, size=_LABEL_SIZE) + about


def _full_name(case: Case) -> str:
    return f"{case.model} {case.task} b{case.batch_size} · {case.mode}"


def _label_width(labels: Sequence[str]) -> float:
    lines = [line for label in labels for line in label.splitlines()]
    return 0.16 + max(text_width(line, size=_LABEL_SIZE) for line in lines)


def _label_rows(ax: Axes, labels: Sequence[str]) -> None:
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), labels, size=_LABEL_SIZE)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")


def _log_axes(ax: Axes, sizes: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=6))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.margins(y=0.12)
    ax.set_xlabel("batch size")
    ax.grid()
