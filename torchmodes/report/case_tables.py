"""The page's tables of cases: their columns, of which those that tell nothing are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torchmodes.report import sentences
from torchmodes.report.data import ReportData
from torchmodes.report.formatting import (
    NOTHING,
    deviation,
    duration,
    energy,
    facts,
    percent,
    relative_error,
    size,
    speed_up,
)
from torchmodes.report.hardware import peak_share
from torchmodes.report.tables import recorded
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import Statistics

_LONG = 40
"""Characters of an engine's facts that stand in a table unfolded."""


@dataclass(frozen=True)
class CaseColumn:
    """A column: its head, what it says of a case, what it is sorted by, and what the head means."""

    head: str
    text: Callable[[JudgedRecord], str]
    value: Callable[[JudgedRecord], Any] = lambda _: None
    meaning: str = ""

    def folded(self, judged: JudgedRecord) -> bool:
        """Tell whether what it says is too long to be seen at once."""
        return len(self.text(judged)) > _LONG

    @property
    def number(self) -> bool:
        """Whether it is a figure, which stands at the right."""
        return self.head not in _TEXTS


_TEXTS = (
    *("What the engine tells", "Compared", "Weights", "Why not"),
    *("Tokens", "First that differs", "Prompt + new"),
)


def telling(columns: Iterable[CaseColumn], cases: Sequence[JudgedRecord]) -> list[CaseColumn]:
    """Leave out the columns that say nothing, or the same of every one of several cases."""
    said = [(column, {column.text(judged) for judged in cases}) for column in columns]
    return [c for c, texts in said if texts != {NOTHING} and (len(texts) > 1 or len(cases) < 2)]


def speed_columns() -> list[CaseColumn]:
    """Return what was measured of a case's speed."""
    return [
        CaseColumn("Speed-up", _speed_up, _estimate),
        _measured("Latency", lambda s: s.candidate.median_s, duration),
        _measured("Eager beside it", lambda s: s.baseline.median_s, duration),
        _measured("p95", lambda s: s.candidate.p95_s, duration),
        _measured("Processes", lambda s: s.runs, str),
        _measured("Blocks", lambda s: s.blocks, "{:,}".format),
    ]


def cost_columns(data: ReportData) -> list[CaseColumn]:
    """Return what a mode asks before it pays."""
    return [
        figure_column("Cold start", lambda j: j.cold_s, duration),
        figure_column("Warm start", lambda j: j.warm_s, duration),
        CaseColumn("Pays back after", sentences.break_even, _break_even),
        figure_column("Peak memory", lambda j: j.memory_bytes, size),
        figure_column("Warm peak", lambda j: j.warm_memory_bytes, size),
        figure_column("Artefact", recorded("cost.artefact_bytes"), size),
        figure_column("Of the peak", lambda j: peak_share(j, data), percent),
        figure_column("Energy an item", recorded("energy.joules_per_item"), energy),
    ]


def start_columns() -> list[CaseColumn]:
    """Return what a start and its memory are made of, and what the engine tells of it."""
    return [
        figure_column("Import", recorded("cost.import_s"), duration),
        figure_column("Build", recorded("cost.build_s"), duration),
        figure_column("Prepare", recorded("cost.prepare_s"), duration),
        figure_column("First call", recorded("cost.first_call_s"), duration),
        figure_column("Largest child", recorded("cost.peak_children_bytes"), size),
        figure_column("Parameters", recorded("cost.parameter_bytes"), size),
        CaseColumn("What the engine tells", lambda j: facts(j.record.facts)),
    ]


def numerics_columns() -> list[CaseColumn]:
    """Return how far a case's output is from eager's."""
    return [
        figure_column("Relative error", recorded("numerics.relative_l2"), relative_error),
        figure_column("Allowed", recorded("numerics.tolerance"), relative_error),
        figure_column("Integers that differ", recorded("numerics.differing"), deviation),
        figure_column("Worst gradient", recorded("numerics.gradient_error"), relative_error),
        figure_column(
            "Allowed of gradients", recorded("numerics.gradient_tolerance"), relative_error
        ),
        CaseColumn("Weights", lambda j: "random" if j.random_weights else NOTHING),
        figure_column("Compared", recorded("numerics.compared"), str),
        figure_column("Input sets", recorded("numerics.input_sets"), str),
        figure_column("Worst item", recorded("numerics.worst_item"), relative_error),
        figure_column("Largest error", recorded("numerics.max_abs"), deviation),
        figure_column("Largest relative", recorded("numerics.max_rel"), deviation),
        figure_column("Cosine", recorded("numerics.cosine"), lambda value: f"{value:.8g}"),
        figure_column("Why not", recorded("numerics.reason"), str),
    ]


def figure_column(
    head: str,
    value: Callable[[JudgedRecord], Any],
    write: Callable[[Any], str],
    meaning: str = "",
) -> CaseColumn:
    """Return a column that writes what it is sorted by."""
    return CaseColumn(
        head,
        lambda judged: NOTHING if (found := value(judged)) is None else write(found),
        value,
        meaning,
    )


def _measured(
    head: str, find: Callable[[Statistics], Any], write: Callable[[Any], str]
) -> CaseColumn:
    return figure_column(head, lambda j: find(j.statistics) if j.measured else None, write)


def _speed_up(judged: JudgedRecord) -> str:
    return speed_up(judged.speed_up) if judged.measured else NOTHING


def _estimate(judged: JudgedRecord) -> float | None:
    if not judged.measured or judged.speed_up.says_nothing:
        return None
    return judged.speed_up.estimate


def _break_even(judged: JudgedRecord) -> float | None:
    cost = judged.record.cost
    paid = None if cost is None or judged.verdict != "faster" else cost.break_even_calls
    return None if paid is None else paid.estimate
