"""What the pages of studies share: what one tells, and the names of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from torchmodes.planning.cases import Case
from torchmodes.report.style import PALETTE

ROW = 0.36
"""Inches of a row."""

Told = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]
"""What a study found: a text, and a table's heads and rows."""


def case_name(case: Case, *, mode: str | None = None) -> str:
    """Name a case, or what stands for its mode, in one line."""
    return f"{case.model} {case.task} b{case.batch_size} · {mode or case.mode}"


def signs() -> Iterator[tuple[str, str]]:
    """Yield a colour and a marker for each line that stands for no mode of its own."""
    return zip(cycle(PALETTE.values()), cycle("os^Dv"), strict=False)
