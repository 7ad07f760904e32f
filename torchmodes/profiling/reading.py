"""The files of a profile as they lie on the disk, checked when they are read.

Another version, an editor or a full disk may have left anything there. What is read here has the
shape that the report, the figures and a diff rely on; anything else is an error that names the
file. Nothing here imports PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, Field, model_validator

from torchmodes.planning.cases import Case, parse_case
from torchmodes.profiling.files import GENERATED_CODE, OVERVIEW, STACKS, SUMMARY, TABLES, TRACE
from torchmodes.profiling.stacks import StacksFile
from torchmodes.results.reading import CorruptFile, read_json, read_table
from torchmodes.results.records import Identity

_TEXTS = frozenset({".txt", ".py", ".cpp", ".cu", ".h", ".json", ".csv", ".md"})
"""Endings of the files of what a mode made that are there to be read."""
_NEEDED = {
    "operators.csv": (["operator"], ["calls", "lean_self_s"]),
    "kernels.csv": (["kernel"], ["calls", "total_s"]),
    "fused.csv": (["kernel"], ["calls", "total_s"]),
    "layers.csv": (["layer", "kind"], ["order", "total_s"]),
    "timeline.csv": (["operator", "where"], ["start_s", "end_s"]),
    "memory.csv": (["phase"], ["time_s", "rss_bytes", "allocated_bytes", "reserved_bytes"]),
}
"""The columns, of text and of numbers, without which a table is of no use."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LeanFile(BaseModel):
    """What ``summary.json`` tells of the lean recording; seconds."""

    step_s: Size
    uncovered_s: Size
    uncovered_share: Size
    parts: dict[str, Size]


class SummaryFile(BaseModel):
    """What is relied on of ``summary.json``."""

    status: str
    reason: str | None = None
    case: Identity | None = None
    profiled_step_s: Size | None = None
    unprofiled_step_s: Size | None = None
    lean: LeanFile | None = None
    flops: Size | None = None
    flops_fault: str | None = None
    compulsory_bytes: Size | None = None
    memory_peak_bytes: dict[str, Size] | None = None
    work_fault: str | None = None
    layers: str | None = None
    stacks: str | None = None
    faults: dict[str, str] = {}


class TriedFile(BaseModel):
    """A recommendation of ``overview.json``."""

    finding: str
    reason: str
    threshold: Number
    advice: str


class OverviewFile(BaseModel):
    """What is relied on of ``overview.json``; it is empty where the case did not run."""

    wall_s: Size = 0.0
    parts: dict[str, Size] = {}
    launches: dict[str, Number | None] | None = None
    recommendations: list[TriedFile] = []


class PeaksFile(BaseModel):
    """What a machine reaches with some number of threads."""

    threads: int
    flops_per_s: dict[str, Rate | None]
    copy_bytes_per_s: Size
    triad_bytes_per_s: Size


class MachineFile(BaseModel):
    """``results/machine/{device}.json``."""

    status: str
    reason: str | None = None
    ceilings: list[PeaksFile] = []

    @model_validator(mode="after")
    def _ok_has_peaks(self) -> Self:
        if self.status == "ok" and not self.ceilings:
            raise ValueError("the status is ok, and ceilings is missing")
        return self


class PointFile(BaseModel):
    """A point of ``results/roofline.json``."""

    case: str
    flops: Size | None = None
    compulsory_bytes: Size | None = None
    operator_bytes: Size | None = None
    intensity: Size | None = None
    flops_per_s: Size | None = None
    attainable_flops_per_s: Size | None = None
    share: Size | None
    bound: Literal["compute", "memory"] | None
    reason: str | None


class RooflineFile(BaseModel):
    """``results/roofline.json``."""

    machines: dict[str, MachineFile]
    points: list[PointFile]


class SideFile(BaseModel):
    """One side of a diff."""

    case: str
    unprofiled_step_s: Size | None = None


class ChangeFile(BaseModel):
    """A row of the account of a diff."""

    name: str
    calls_a: Size
    calls_b: Size
    a_s: Number
    b_s: Number
    gained_s: Number


class DiffFile(BaseModel):
    """``results/profile/diff/{a}--vs--{b}.json``."""

    status: str
    reason: str | None = None
    a: SideFile
    b: SideFile
    sentence: str | None = None
    warning: str | None = None
    account: list[ChangeFile] = []
    groups: list[ChangeFile] = []


def read_content(path: Path, shape: type[BaseModel]) -> dict[str, Any]:
    """Read a JSON file whole, beyond what is relied on, if that much has its shape.

    Raises
    ------
    CorruptFile
        Naming the file, and the value at fault.
    """
    read_json(path, shape, strict=True)
    return json.loads(path.read_bytes())


def summary_or_reason(path: Path) -> dict[str, Any]:
    """Read a ``summary.json``; where it cannot be read, return one that says so."""
    try:
        return read_content(path, SummaryFile)
    except CorruptFile as error:
        case = parse_case(path.as_posix()).identity()
        return {"case": case, "status": "unreadable", "reason": str(error)}


def machine_or_reason(path: Path) -> dict[str, Any]:
    """Read the peaks of a machine; where they cannot be read, return what says so."""
    try:
        return read_content(path, MachineFile)
    except CorruptFile as error:
        return {"status": "unreadable", "reason": str(error)}


@dataclass(frozen=True, eq=False)
class CaseProfile:
    """What can be read of a case's profile.

    Attributes
    ----------
    folder
        Where its files lie.
    summary, overview
        ``summary.json`` and ``overview.json`` as they are; empty where they are missing.
    tables
        Its tables, by the name of their file without ``.csv``.
    stacks
        The Python stacks; none where there are no such.
    broken
        By the name of a file that could not be read, what is wrong with it; each names the file.
    """

    case: Case
    folder: Path
    summary: Mapping[str, Any] = field(default_factory=dict)
    overview: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    stacks: StacksFile = field(default_factory=StacksFile)
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of a step by what they went to; empty where the profile does not tell."""
        return {name: s for name, s in (self.overview.get("parts") or {}).items() if s > 0}

    @property
    def traces(self) -> list[Path]:
        """Chrome's trace, for Perfetto, where there is one."""
        return [path for path in [self.folder / TRACE] if path.exists()]

    @property
    def texts(self) -> list[Path]:
        """What the mode made of the model: files to be read."""
        return sorted(p for p in self.folder.glob(f"{GENERATED_CODE}/**/*") if p.suffix in _TEXTS)

    def shown(self, name: str) -> pd.DataFrame:
        """Return a table without the columns of zeros: on a CPU, all times of a GPU are."""
        table = self.tables.get(name, pd.DataFrame())
        return table.loc[:, ((table != 0) & table.notna()).any()]


def read_profile(folder: Path) -> CaseProfile:
    """Read what there is of a profile; a broken file costs no more than itself.

    Raises
    ------
    ValueError
        When the folder is not where a case's profile lies.
    """
    broken: dict[str, str] = {}

    def there(path: Path, read: Callable[[Path], Any]) -> Any:
        try:
            return read(path) if path.exists() else None
        except CorruptFile as error:
            broken[path.name] = str(error)
            return None

    summary = there(folder / SUMMARY, lambda path: read_content(path, SummaryFile))
    overview = there(folder / OVERVIEW, lambda path: read_content(path, OverviewFile))
    stacks = there(folder / STACKS, lambda path: read_json(path, StacksFile, strict=True))
    tables = {path.stem: there(path, _read_table) for path in sorted(folder.glob("*.csv"))}
    return CaseProfile(
        case=parse_case(folder.as_posix()),
        folder=folder,
        summary=summary or {},
        overview=overview or {},
        stacks=stacks or StacksFile(),
        tables={name: table for name, table in tables.items() if table is not None},
        broken=broken,
    )


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table whose times and counts are numbers."""
    texts, numbers = _NEEDED.get(path.name, ([], []))
    figures = [name for name in TABLES.get(path.name, ()) if name == "calls" or name.endswith("_s")]
    there = read_table(path, texts=texts, numbers=numbers).columns
    return read_table(
        path, texts=texts, numbers=[*numbers, *(name for name in figures if name in there)]
    )
