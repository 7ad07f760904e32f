"""Studies of a run, each as a finding in words and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torchmodes.cases import Case, case_from
from torchmodes.report.conditions import mapping
from torchmodes.report.data import ReportData
from torchmodes.report.quantities import NOTHING, duration, listing, plural, ratio


@dataclass(frozen=True)
class Finding:
    """What a study found: a title, a sentence or two, and the figures behind them."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def findings(data: ReportData) -> list[Finding]:
    """Return the findings of every study that the report knows how to tell."""
    return [TOLD[study.name](study.content) for study in data.studies if study.name in TOLD]


def tell_compile_cost(content: Mapping[str, Any]) -> Finding:
    """Tell what a second start costs when the first has filled the compile caches."""
    rows, saved = [], []
    for entry in map(mapping, content.get("cases") or []):
        case = case_from(mapping(entry.get("case")))
        cold, warm = entry.get("cold_s"), entry.get("warm_s")
        known = isinstance(cold, float) and isinstance(warm, float) and warm > 0
        rows.append(
            (
                str(case),
                duration(cold),
                duration(warm),
                ratio(cold / warm) if known else NOTHING,
                entry.get("reason") or "",
            )
        )
        if known:
            saved.append((_name(case), cold, warm))
    return Finding(
        title="A second start, from a warm compile cache",
        text=_warm_start(saved, len(rows)),
        columns=("Case", "Cold start", "Warm start", "Cold / warm", "Why not"),
        rows=tuple(rows),
    )


TOLD: dict[str, Callable[[Mapping[str, Any]], Finding]] = {"compile_cost": tell_compile_cost}


def _warm_start(saved: list[tuple[str, float, float]], cases: int) -> str:
    if not saved:
        return f"None of {plural(cases, 'case')} started twice."
    told = [f"{name} in {duration(warm)} instead of {duration(cold)}" for name, cold, warm in saved]
    return f"With the compile cache of a first start, {listing(told)} (one start each)."


def _name(case: Case) -> str:
    return f"{case.mode} of {case.model} ({case.task}, batch {case.batch_size:,}) starts"
