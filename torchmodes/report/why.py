"""The section "Why": what profiles tell of each case, and what changed between two."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from torchmodes.planning.cases import case_at
from torchmodes.profiling.diff import comparable, sentence
from torchmodes.profiling.files import (
    FUSED_COLUMNS,
    GENERATED_CODE,
    OVERVIEW,
    STACKS,
    SUMMARY,
    TABLES,
)
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData
from torchmodes.report.figures import figures_of
from torchmodes.report.figures.layer_pairs import layers_missing
from torchmodes.report.figures.timeline import timeline_pairs
from torchmodes.report.flame import FlameCell, flame_cells
from torchmodes.report.formatting import duration, group_name, percent
from torchmodes.report.plots import inline_figures

ROWS_OF_A_DIFF = 10
OPERATORS_SHOWN = 15
KERNELS_SHOWN = 20
_FOLDED = ("by_layer", "layers")
_FILES = (OVERVIEW, STACKS, *TABLES, "memory.svg", GENERATED_CODE, SUMMARY)
_NOT_SHOWN = ["shapes", "mean_s", "lean_self_s"]


@dataclass(frozen=True)
class Explained:
    """One profile as the page shows it.

    Attributes
    ----------
    traces, files
        Links, relative to the page, to the traces and to the other files that are there.
    operators
        The most expensive operators.
    kernels
        The most expensive kernels of generated code, each with its share of the step.
    flame
        The Python stacks; empty where there are none.
    """

    profile: CaseProfile
    traces: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    operators: pd.DataFrame
    kernels: tuple[Mapping[str, Any], ...]
    flame: tuple[FlameCell, ...]

    @property
    def python(self) -> str | None:
        """Say how much of a step neither an operator nor a kernel covers."""
        told = self.profile.summary.get("lean")
        if not told:
            return None
        return (
            f"In {percent(told['uncovered_share'])} of a step neither an operator nor a kernel"
            " runs: Python, dispatch of compiled code, and gaps."
        )


@dataclass(frozen=True)
class ExplainedDiff:
    """What changed between two profiles, in the times that were measured without the profiler.

    Attributes
    ----------
    said
        In a sentence or two; the reason where nothing can be said.
    sides
        What the two are called.
    rows
        The largest changes, and the sum of the others.
    """

    title: str
    said: str
    sides: tuple[str, str]
    rows: tuple[Mapping[str, Any], ...] = ()


def explained_diff(found: Mapping[str, Any], data: ReportData) -> ExplainedDiff:
    """Tell a diff of two profiles so that it agrees with the records.

    The profiler slows two modes differently, so that its own difference can have another size or
    even sign. Each side's times are scaled to its measured step. Where a record is missing, the
    profiler's own stand as they are, and are said to be that.
    """
    title, sides = _pair(found["a"]["case"], found["b"]["case"])
    if found["status"] != "ok":
        return ExplainedDiff(title, str(found["reason"]), sides)
    account = pd.DataFrame(found["account"])
    profiled = account["a_s"].sum(), account["b_s"].sum()
    measured, source = _measured_steps(found, data), "the measured ones"
    if measured is None and found.get("warning"):
        measured, source = _unprofiled_steps(found), "steps without the profiler"
    if measured is None or not all(profiled):
        said = f"{found['sentence']} {found.get('warning') or ''} By the profiler alone."
        return ExplainedDiff(title, said, sides, _largest(account))
    (a_s, b_s), speed_up = measured
    if (a_s - b_s) * (speed_up - 1) < 0:
        return ExplainedDiff(
            title,
            "Typical times and speed-up differ in sign: there is no difference to explain.",
            sides,
        )
    account = comparable(account)
    account["a_s"] *= a_s / profiled[0]
    account["b_s"] *= b_s / profiled[1]
    account["gained_s"] = account["a_s"] - account["b_s"]
    said = (
        f"{sentence(*sides, account, write=duration)} Times are scaled to {source}; profiled"
        f" without stacks a step took {duration(profiled[0])} and {duration(profiled[1])}."
    )
    return ExplainedDiff(title, said, sides, _largest(account))


def _pair(a: str, b: str) -> tuple[str, tuple[str, str]]:
    """Return a title for two cases and a name for each: what they share stands in the title."""
    one, other = case_at(Path(a)), case_at(Path(b))
    if one is None or other is None or one.baseline != other.baseline:
        return f"{a} → {b}", (a, b)
    sides = one.mode_named, other.mode_named
    return f"{group_name(one)}: {' → '.join(sides)}", sides


def _measured_steps(
    found: Mapping[str, Any], data: ReportData
) -> tuple[tuple[float, float], float] | None:
    """Return the typical seconds of both sides, as the tables have them, and b's speed-up on a."""
    cases = {str(judged.case): judged for judged in data.cases if judged.measured}
    sides = [cases.get(found[side]["case"]) for side in ("a", "b")]
    known = [s for s in sides if s is not None and not s.speed_up.says_nothing]
    if len(known) < 2:
        return None
    of_b = known[1].statistics
    over_a, over_b = (1.0 if s.case.is_baseline else s.speed_up.estimate for s in known)
    return (of_b.baseline.median_s / over_a, of_b.candidate.median_s), over_b / over_a


def _unprofiled_steps(found: Mapping[str, Any]) -> tuple[tuple[float, float], float] | None:
    """Return the seconds of both sides that the profiles' own processes took without a profiler."""
    a, b = (found[side].get("unprofiled_step_s") for side in ("a", "b"))
    return ((a, b), a / b) if a and b else None


def _largest(account: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    """Return the largest changes, and the sum of the others: the rows add up to the whole."""
    order = account["gained_s"].abs().sort_values(ascending=False, kind="stable").index
    ordered = account.loc[order]
    shown, others = ordered.head(ROWS_OF_A_DIFF), ordered.iloc[ROWS_OF_A_DIFF:]
    rows = shown.to_dict("records")
    if len(others):
        rows.append({"name": f"({len(others)} others)", **others.sum(numeric_only=True).to_dict()})
    return tuple(rows)


def section_why(data: ReportData, page: Path) -> dict[str, Any] | None:
    """Show what a step is made of, the roofline, what changed, and each profile."""
    if not data.profiles:
        return None
    entries = figures_of("profiles")
    open_ones = [entry for entry in entries if entry.name not in _FOLDED]
    folded = [entry for entry in entries if entry.name in _FOLDED]
    return {
        "figures": inline_figures(open_ones, data, of="run"),
        "folded": inline_figures(folded, data, of="run"),
        "layers_missing": layers_missing(data),
        "points": data.roofline.get("points", []),
        "timelines": _timelines(data, page),
        "diffs": [explained_diff(found, data) for found in data.diffs],
        "profiles": [_explained(profile, page) for profile in data.profiles],
    }


def _timelines(data: ReportData, page: Path) -> list[tuple[tuple[str, str], ...]]:
    """Return the names and traces of the two modes of each timeline."""
    traces = {p.case: _link(trace, page) for p in data.profiles for trace in p.traces}
    return [
        tuple((str(bar.case), traces[bar.case]) for bar in pair if bar.case in traces)
        for pair in timeline_pairs(data)
    ]


def _explained(profile: CaseProfile, page: Path) -> Explained:
    there = [profile.folder / name for name in _FILES if (profile.folder / name).exists()]
    return Explained(
        profile=profile,
        traces=tuple(_link(trace, page) for trace in profile.traces),
        files=tuple((path.name, _link(path, page)) for path in there),
        operators=profile.shown("operators")
        .head(OPERATORS_SHOWN)
        .drop(columns=_NOT_SHOWN, errors="ignore"),
        kernels=_kernels(profile),
        flame=tuple(flame_cells(profile.stacks)),
    )


def _kernels(profile: CaseProfile) -> tuple[Mapping[str, Any], ...]:
    lean = profile.summary.get("lean")
    if not lean or not lean["step_s"]:
        return ()
    table = profile.tables.get("fused", pd.DataFrame(columns=list(FUSED_COLUMNS)))
    shown = table.head(KERNELS_SHOWN).assign(share=table["total_s"] / lean["step_s"])
    return tuple(shown.fillna("").to_dict("records"))


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()
