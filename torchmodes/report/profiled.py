"""Profiled cases as they lie on the disk: whatever files there are, and two beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from torchmodes.planning.cases import Case
from torchmodes.profiling.chrome import SPANS
from torchmodes.profiling.files import TABLES
from torchmodes.profiling.reading import OverviewFile, SummaryFile, read_content
from torchmodes.report.environments import mapping
from torchmodes.report.sentences import distortion, missing_parts
from torchmodes.results.reading import read_table

OPERATORS = "operators"
TEXTS = frozenset({".txt", ".py", ".cpp", ".cu", ".h", ".json", ".csv", ".md"})
"""Files of what the mode made that are there to be read."""


@dataclass(frozen=True, eq=False)
class Profiled:
    """What can be read of one profile.

    Attributes
    ----------
    said
        How the profile ended, and how much the profiler slowed the step.
    tables
        By the name of their file without ``.csv``, the operators first; columns that hold nothing
        but zeros are left out.
    parts
        Seconds of a step by what they went to; empty where the profile does not tell.
    texts
        What the mode made of the model: files to be read.
    broken
        What is wrong with files that could not be read, with their paths.
    """

    case: Case
    said: str
    tables: Mapping[str, pd.DataFrame]
    parts: Mapping[str, float]
    texts: tuple[Path, ...]
    broken: tuple[str, ...]

    @property
    def operators(self) -> pd.DataFrame:
        """One row per operator, per step: ``operator``, ``calls``, seconds; perhaps no row."""
        return self.tables.get(OPERATORS, pd.DataFrame({"operator": []}))


def read_profile(case: Case) -> Profiled:
    """Read what there is of a case's profile; a broken file costs no more than itself."""
    folder = Path(case.profile)
    broken: list[str] = []
    shapes = {"summary.json": SummaryFile, "overview.json": OverviewFile}

    def read(path: Path) -> Any:
        try:
            return (
                _read_table(path)
                if path.suffix == ".csv"
                else read_content(path, shapes[path.name])
            )
        except ValueError as error:
            broken.append(str(error))
            return None

    tables = {path.stem: read(path) for path in sorted(folder.glob("*.csv"), key=_operators_first)}
    overview = folder / "overview.json"
    summary = mapping(read(folder / "summary.json"))
    parts = mapping(mapping(read(overview) if overview.is_file() else None).get("parts"))
    return Profiled(
        case=case,
        said=" ".join(filter(None, (distortion(summary), missing_parts(summary)))),
        tables={name: table for name, table in tables.items() if table is not None},
        parts={name: seconds for name, seconds in parts.items() if seconds > 0},
        texts=tuple(sorted(p for p in folder.glob("internals/**/*") if p.suffix in TEXTS)),
        broken=tuple(broken),
    )


def compare_operators(first: Profiled, second: Profiled) -> pd.DataFrame:
    """Put the operators of two profiles beside each other, the greatest difference first.

    Returns
    -------
    pandas.DataFrame
        ``operator``, then seconds an operator itself takes in a step (``first_s``, ``second_s``,
        ``difference_s``: second less first) and calls in a step (``first_calls``,
        ``second_calls``). An operator that one of them does not call is zero there. On a GPU it
        is the time of its kernels, for the host's contains the waiting for them; else that on the
        CPU in the lean recording, without the spans of Python, which hold no operator.
    """
    on_gpu = all("self_device_s" in one.operators.columns for one in (first, second))
    column = "self_device_s" if on_gpu else "lean_self_s"
    sides = [_own_time(one, name, column) for one, name in ((first, "first"), (second, "second"))]
    both = sides[0].join(sides[1], how="outer").fillna(0.0)
    both["difference_s"] = both["second_s"] - both["first_s"]
    order = both["difference_s"].abs().sort_values(ascending=False, kind="stable").index
    columns = ["first_s", "second_s", "difference_s", "first_calls", "second_calls"]
    return both.loc[order, columns].reset_index()


def _own_time(profiled: Profiled, name: str, column: str) -> pd.DataFrame:
    table = profiled.operators
    table = table[~table["operator"].astype(str).str.startswith(SPANS)]
    own = pd.DataFrame(
        {
            "operator": table["operator"],
            f"{name}_s": table[column] if column in table.columns else 0.0,
            f"{name}_calls": table["calls"] if "calls" in table.columns else 0.0,
        }
    )
    return own.groupby("operator").sum()


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table whose times and counts are numbers."""
    figures = [name for name in TABLES.get(path.name, ()) if name == "calls" or name.endswith("_s")]
    there = read_table(path, texts=["operator"] if path.stem == OPERATORS else []).columns
    table = read_table(path, numbers=[name for name in figures if name in there])
    tells = ((table != 0) & table.notna()).any() | (table.columns == "operator")
    return table.loc[:, tells]


def _operators_first(path: Path) -> tuple[bool, str]:
    return path.stem != OPERATORS, path.stem
