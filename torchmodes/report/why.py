"""The section "Why": what profiles tell of each case, and what changed between two."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from torchmodes.profiling.files import GENERATED_CODE, OVERVIEW, SUMMARY, TABLES
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData
from torchmodes.report.figures import figure_named, figures_of
from torchmodes.report.formatting import duration, percent
from torchmodes.report.plots import InlineFigure, inline_figure

ROWS_OF_A_DIFF = 10
OPERATORS_SHOWN = 15
_FILES = (OVERVIEW, *TABLES, "layers.svg", "memory.svg", GENERATED_CODE, SUMMARY)
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
    layers
        The icicle, where the mode runs modules.
    """

    profile: CaseProfile
    traces: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    operators: pd.DataFrame
    layers: InlineFigure | None

    @property
    def recommendations(self) -> list[Mapping[str, Any]]:
        """What to try."""
        return self.profile.overview.get("recommendations", [])

    @property
    def python(self) -> str | None:
        """Say how much of a step neither an operator nor a kernel covers."""
        told = self.profile.summary.get("lean")
        if not told:
            return None
        return (
            f"In {percent(told['uncovered_share'])} of a step ({duration(told['uncovered_s'])})"
            " neither an operator nor a kernel runs: Python, dispatch of compiled code, and gaps."
        )


def section_why(data: ReportData, page: Path) -> dict[str, Any] | None:
    """Show what a step is made of, the roofline, what changed, and each profile."""
    if not data.profiles:
        return None
    figures = [
        inline_figure(entry, data, prefix=entry.name.replace("_", "-"))
        for entry in figures_of("profiles")
        if entry.of == "run" and entry.is_in(data)
    ]
    return {
        "figures": figures,
        "points": data.roofline.get("points", []),
        "diffs": [(found, found.get("account", [])[:ROWS_OF_A_DIFF]) for found in data.diffs],
        "profiles": [
            _explained(profile, page, number) for number, profile in enumerate(data.profiles)
        ],
    }


def _explained(profile: CaseProfile, page: Path, number: int) -> Explained:
    there = [profile.folder / name for name in _FILES if (profile.folder / name).exists()]
    layers = figure_named("layers")
    return Explained(
        profile=profile,
        traces=tuple(_link(trace, page) for trace in profile.traces),
        files=tuple((path.name, _link(path, page)) for path in there),
        operators=profile.shown("operators")
        .head(OPERATORS_SHOWN)
        .drop(columns=_NOT_SHOWN, errors="ignore"),
        layers=inline_figure(layers, profile, prefix=f"layers-{number}")
        if layers.is_in(profile)
        else None,
    )


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix()
