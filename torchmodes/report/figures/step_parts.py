"""What a step is made of: stacked bars by kind of operator, eager beside what is shipped."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from torchmodes.planning.cases import Case
from torchmodes.profiling.diff import kernel_times, operator_times
from torchmodes.profiling.operator_groups import ELEMENTWISE, group_of
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import (
    Panel,
    bottom_legend,
    label_rows,
    label_width,
    stack,
    text_width,
    value_beside,
)
from torchmodes.report.formatting import group_name, percent
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.style import GRID, INK, MARGIN, MUTED, PALETTE, SURFACE, WIDTH_INCHES
from torchmodes.report.verdicts import JudgedRecord

LOOKS = {
    "matmul": ("matrix products", PALETTE["indigo"], ""),
    "convolution": ("convolution", PALETTE["teal"], "///"),
    "attention": ("attention", PALETTE["magenta"], "\\\\\\"),
    "compiled": ("compiled, fused", PALETTE["olive"], "..."),
    "normalisation": ("normalisation", PALETTE["gold"], "\\\\"),
    "data movement": ("data movement", PALETTE["sky"], "ooo"),
    ELEMENTWISE: ("elementwise and other operators", PALETTE["brown"], "xxx"),
    "memcpy": ("copies to or from the GPU", PALETTE["sky"], "+++"),
    "memset": ("fills", PALETTE["violet"], "ooo"),
    "communication": ("communication", PALETTE["pink"], "|||"),
    "runtime": ("CUDA runtime", PALETTE["gold"], "---"),
    "data_loading": ("data loading", PALETTE["vermilion"], "**"),
    "host": ("operators on the CPU", PALETTE["green"], "//"),
    "other": ("Python and idle", GRID, ""),
}
"""Name, colour and hatch of each part of a step, in order."""
_ROW = 0.27


@dataclass(frozen=True)
class StepBar:
    """One case of a group: how long a step takes and what of that goes where.

    Attributes
    ----------
    length
        Measured, as a share of eager's beside it; of a case without a record, as profiled.
    shares
        Of the step, by the keys of `LOOKS`; empty without a profile.
    shipped
        Whether it is what to ship.
    """

    case: Case
    length: float
    shares: dict[str, float]
    shipped: bool

    @property
    def name(self) -> str:
        """What stands beside the bar."""
        return self.case.mode_named


def step_bars(data: ReportData) -> dict[Case, list[StepBar]]:
    """Return the bars of each group with a profile, by its baseline: eager, then the others."""
    judged = {one.case: one for one in data.cases}
    shipped = {s.case for g in group_cases(data.cases) if (s := recommend(g).shipped) is not None}
    profiles = {p.case: p for p in data.profiles if _shares(p)}
    groups: dict[Case, list[StepBar]] = {}
    for case in sorted({*profiles, *shipped}, key=lambda c: (c.baseline, not c.is_baseline, c)):
        if not any(other.baseline == case.baseline for other in profiles):
            continue
        eager = profiles.get(case.baseline)
        length = _length(judged.get(case), profiles.get(case), eager)
        if length is not None:
            shares = _shares(profiles[case]) if case in profiles else {}
            bar = StepBar(case, length, shares, case in shipped)
            groups.setdefault(case.baseline, []).append(bar)
    return groups


def shipped_pairs(data: ReportData, told: Container[Case]) -> list[tuple[StepBar, StepBar]]:
    """Return eager and what is shipped, or else the fastest, of each group with both in `told`."""
    pairs = []
    for bars in step_bars(data).values():
        known = [bar for bar in bars if bar.case in told]
        others = [bar for bar in known if not bar.case.is_baseline]
        if known and known[0].case.is_baseline and others:
            pairs.append((known[0], min(others, key=lambda bar: (not bar.shipped, bar.length))))
    return pairs


def draw_step_parts(data: ReportData) -> Figure:
    """Draw a bar per case, as long as its measured time, and what the profile says of its parts."""
    groups = step_bars(data)
    bars = [bar for found in groups.values() for bar in found]
    panels = [Panel(group_name(case), _ROW * len(found)) for case, found in groups.items()]
    figure, axes = stack(panels, left=label_width(bar.name for bar in bars), right=0.95, axis=0.3)
    longest = max(bar.length for bar in bars)
    for ax, found in zip(axes, groups.values(), strict=True):
        label_rows(ax, [bar.name for bar in found])
        ax.set_xlim(0, longest)
        for row, bar in enumerate(found):
            _bar(ax, row, bar)
    share_axes(axes)
    handles = part_handles({name for bar in bars for name, share in bar.shares.items() if share})
    if any(not bar.shares for bar in bars):
        handles.append(Patch(facecolor=MARGIN, edgecolor=MUTED, label="no profile of it"))
    bottom_legend(figure, handles, columns=2)
    return figure


def share_axes(axes: Sequence[Axes]) -> None:
    """Make the horizontal axes ones of time as a share of eager's; the last one says so."""
    for ax in axes:
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes[-1].set_xlabel("measured time, eager = 100 %")


def part_handles(used: Container[str]) -> list[Patch]:
    """Return the legend entries of those parts of a step that are drawn."""
    looks = (look for name, look in LOOKS.items() if name in used)
    return [Patch(facecolor=colour, hatch=hatch, label=label) for label, colour, hatch in looks]


def _bar(ax: Axes, row: int, bar: StepBar) -> None:
    if not bar.shares:
        ax.barh(row, bar.length, height=0.7, facecolor=MARGIN, edgecolor=MUTED, linewidth=0.8)
    start, inches = 0.0, ax.get_position().width * WIDTH_INCHES / ax.get_xlim()[1]
    for name, (_, colour, hatch) in LOOKS.items():
        width = bar.length * bar.shares.get(name, 0.0)
        if width:
            ax.barh(
                *(row, width),
                left=start,
                height=0.7,
                facecolor=colour,
                hatch=hatch,
                edgecolor=SURFACE,
                linewidth=0.5,
            )
            _label(ax, row, start, width, name, room=width * inches)
            start += width
    said = f"{percent(bar.length)}{', ship' if bar.shipped else ''}"
    value_beside(ax, row, said, strong=bar.shipped, size=8)


def _label(ax: Axes, row: int, start: float, width: float, name: str, *, room: float) -> None:
    """Write a part's name into it where there is room and no hatch in its way."""
    text, colour = ("Python, idle", INK) if name == "other" else (name, SURFACE)
    if text_width(text, size=7.5) < 0.9 * room and not LOOKS[name][2]:
        ax.text(start + width / 2, row, text, size=7.5, ha="center", va="center", color=colour)


def _length(
    judged: JudgedRecord | None, profile: CaseProfile | None, eager: CaseProfile | None
) -> float | None:
    """Return a step's time as a share of eager's: measured, or else as both profiles have it."""
    if judged is not None and judged.measured:
        return judged.time_share
    if profile is None:
        return None
    own, whole = (p.summary["lean"]["step_s"] for p in (profile, eager or profile))
    return own / whole if whole else None


def _shares(profile: CaseProfile) -> dict[str, float]:
    """Return the parts of a step, the operators (on a GPU the kernels) by kind, as shares of it."""
    lean = profile.summary.get("lean") or {}
    parts = {name: seconds for name, seconds in (lean.get("parts") or {}).items() if seconds}
    whole = sum(parts.values())
    if not whole:
        return {}
    on_gpu = "kernel" in parts
    told = parts.pop("kernel" if on_gpu else "operator", 0.0)
    host = parts.pop("operator", 0.0)
    tables = {"kernels": kernel_times, "operators": operator_times}
    kind = "kernels" if on_gpu else "operators"
    own = tables[kind](profile)["seconds"] if kind in profile.tables else None
    if own is None or own.sum() <= 0:
        kinds = {ELEMENTWISE: told}
    else:
        kinds = (told * own / own.sum()).groupby(group_of).sum().to_dict()
    return {n: s / whole for n, s in {**kinds, **parts, "host": host}.items() if s > 0}
