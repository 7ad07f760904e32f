"""Figures of profiles: the layers as an icicle, memory over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import Panel, bottom_legend, stack
from torchmodes.report.formatting import duration, percent, size_unit
from torchmodes.report.style import GRID, INK, MUTED, PALETTE, SURFACE

LEVEL = 0.3
_THINNEST = 0.002
_CHARACTER_SHARE = 0.014
_KINDS_SHOWN = 5


def with_layers(data: ReportData) -> list[CaseProfile]:
    """Return the profiles of modes that run the model module by module."""
    return [profile for profile in data.profiles if len(profile.tables.get("layers", ()))]


def has_memory(profile: CaseProfile) -> bool:
    """Tell whether a profile's memory was recorded."""
    return len(profile.tables.get("memory", ())) > 0


@dataclass(frozen=True)
class IcicleCell:
    """One module of an icicle: its place, from 0 to 1 of the forward pass, and its level."""

    layer: str
    kind: str
    start: float
    width: float
    level: int
    seconds: float


def icicle(layers: pd.DataFrame) -> list[IcicleCell]:
    """Lay modules out: each as wide as its time, its submodules below it in order of their calls.

    A module that never runs itself (a list of others) is passed over; its submodules belong to the
    module around it. The table is a profile's ``layers.csv``.
    """
    rows = {str(row["layer"]): row for row in layers.to_dict("records")}
    names = sorted(
        (name for name in rows if name != "(model)"), key=lambda name: rows[name]["order"]
    )
    below: dict[str, list[str]] = {}
    for name in names:
        above = name
        while "." in above:
            above = above.rpartition(".")[0]
            if above in rows:
                break
        else:
            above = "(model)"
        below.setdefault(above, []).append(name)
    roots = ["(model)"] if "(model)" in rows else below.get("(model)", [])
    whole = sum(rows[name]["total_s"] for name in roots)
    blocks: list[IcicleCell] = []

    def lay(names: Sequence[str], start: float, level: int) -> None:
        for name in names:
            row = rows[name]
            width = row["total_s"] / whole if whole else 0.0
            blocks.append(IcicleCell(name, str(row["kind"]), start, width, level, row["total_s"]))
            lay(below.get(name, []), start, level + 1)
            start += width

    lay(roots, 0.0, 0)
    return blocks


def draw_layers(data: ReportData) -> Figure:
    """Draw each forward pass as an icicle: the model on top, its modules below, as wide as long."""
    icicles = {profile: icicle(profile.tables["layers"]) for profile in with_layers(data)}
    kinds = _common_kinds(icicles.values())
    figure, axes = stack(
        [
            Panel(f"forward pass by module · {_short(profile)}", LEVEL * _levels(cells))
            for profile, cells in icicles.items()
        ],
        left=0.25,
        right=0.3,
    )
    for ax, cells in zip(axes, icicles.values(), strict=True):
        _layers_panel(ax, cells, kinds)
    handles = [Patch(color=colour, label=kind) for kind, colour in kinds.items()]
    bottom_legend(figure, [*handles, Patch(color=GRID, label="others")], columns=3)
    return figure


def _levels(cells: Sequence[IcicleCell]) -> int:
    return 1 + max(cell.level for cell in cells)


def _layers_panel(ax: Axes, cells: Sequence[IcicleCell], kinds: Mapping[str, str]) -> None:
    for cell in cells:
        if cell.width < _THINNEST:
            continue
        box = Rectangle((cell.start, cell.level), cell.width, 1.0, linewidth=0.6)
        box.set(facecolor=kinds.get(cell.kind, GRID), edgecolor=SURFACE)
        ax.add_patch(box)
        _label(ax, cell, on_grid=cell.kind not in kinds)
    ax.set_xlim(0, 1)
    ax.set_ylim(_levels(cells), 0)
    ax.yaxis.set_visible(False)
    ax.spines["left"].set_visible(False)
    whole = sum(cell.seconds for cell in cells if cell.level == 0)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], [percent(x) for x in (0, 0.25, 0.5, 0.75, 1)])
    ax.set_xlabel(f"share of {duration(whole)}")


def draw_memory(profile: CaseProfile) -> Figure:
    """Draw resident memory by phase, and below it what the recorded steps allocate."""
    table = profile.tables["memory"]
    resident = table[table["rss_bytes"].notna()]
    steps = table[table["allocated_bytes"].notna()]
    panels = [Panel(f"resident memory by phase · {_short(profile)}", 1.2)]
    if len(steps):
        panels.append(Panel("allocated by operators in the recorded steps", 1.2))
    figure, axes = stack(panels, left=0.75, right=0.2)
    ax = axes[0]
    _, unit = _plot_bytes(ax, resident["time_s"], resident["rss_bytes"], PALETTE["blue"])
    for phase, rows in resident.groupby("phase", sort=False):
        ax.axvline(rows["time_s"].iloc[0], color=GRID, linewidth=1, zorder=0)
        ax.annotate(
            str(phase),
            (rows["time_s"].iloc[0], 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(2, 0),
            textcoords="offset points",
            size=7.5,
            color=MUTED,
            rotation=90,
            va="bottom",
        )
    ax.set_ylabel(unit)
    ax.set_xlabel("s")
    if len(steps):
        ax = axes[1]
        factor, unit = _plot_bytes(
            ax, steps["time_s"] * 1e3, steps["allocated_bytes"], PALETTE["green"], step=True
        )
        if steps["reserved_bytes"].notna().any():
            ax.plot(steps["time_s"] * 1e3, steps["reserved_bytes"] / factor, color=PALETTE["gold"])
        ax.set_ylabel(unit)
        ax.set_xlabel("ms")
    return figure


def _plot_bytes(
    ax: Axes, x: pd.Series, sizes: pd.Series, colour: str, *, step: bool = False
) -> tuple[float, str]:
    factor, unit = size_unit(max(1.0, float(sizes.abs().max())))
    ax.plot(x, sizes / factor, color=colour, drawstyle="steps-post" if step else "default")
    ax.set_ylim(bottom=min(0.0, float(sizes.min()) / factor))
    ax.grid(axis="y")
    return factor, unit


def _label(ax: Axes, block: IcicleCell, *, on_grid: bool) -> None:
    around, _, text = block.layer.rpartition(".")
    if text.isdigit() and around:  # a number says less than what it counts
        whole = f"{around.rpartition('.')[2]}.{text}"
        text = whole if len(whole) * _CHARACTER_SHARE < block.width else text
    if len(text) * _CHARACTER_SHARE < block.width:
        ax.text(
            block.start + block.width / 2,
            block.level + 0.5,
            text,
            ha="center",
            va="center",
            size=7.5,
            color=INK if on_grid else SURFACE,
        )


def _common_kinds(icicles: Iterable[Sequence[IcicleCell]]) -> dict[str, str]:
    """Give the kinds that take most of the time of their own a colour each."""
    own: dict[str, float] = {}
    for cells in icicles:
        for cell in cells:
            inside = sum(
                other.width
                for other in cells
                if other.level == cell.level + 1
                and cell.start <= other.start < cell.start + cell.width
            )
            own[cell.kind] = own.get(cell.kind, 0.0) + cell.width - inside
    colours = [PALETTE[name] for name in ("indigo", "teal", "olive", "brown", "magenta")]
    kinds = sorted(own, key=lambda kind: -own[kind])[:_KINDS_SHOWN]
    return dict(zip(kinds, colours, strict=False))


def _short(profile: CaseProfile) -> str:
    """Name a profiled case in one line."""
    case = profile.case
    return f"{case.model} {case.mode} {case.precision} b{case.batch_size}"
