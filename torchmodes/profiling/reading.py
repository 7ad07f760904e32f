"""The files of a profile as they lie on the disk, checked when they are read.

Another version, an editor or a full disk may have left anything there. What is read here has the
shape that the report, the figures and a diff rely on; anything else is an error that names the
file. Nothing here imports PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from torchmodes.results.reading import CorruptFile, read_json

Number = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CaseFile(BaseModel):
    """Which case a profile is of."""

    task: str
    device: str
    model: str
    mode: str
    precision: str
    batch_size: int

    def __str__(self) -> str:
        last = f"{self.precision}-b{self.batch_size}"
        return f"{self.task}/{self.device}/{self.model}/{self.mode}/{last}"


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
    case: CaseFile | None = None
    profiled_step_s: Size | None = None
    unprofiled_step_s: Size | None = None
    lean: LeanFile | None = None
    flops: Size | None = None
    flops_fault: str | None = None
    compulsory_bytes: Size | None = None
    operator_bytes: Size | None = None
    work_fault: str | None = None
    layers: str | None = None
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
        task, device, model, mode, last = path.parent.parts[-5:]
        precision, _, batch_size = last.rpartition("-b")
        case = {"task": task, "device": device, "model": model, "mode": mode}
        case |= {"precision": precision, "batch_size": batch_size}
        return {"case": case, "status": "unreadable", "reason": str(error)}


def machine_or_reason(path: Path) -> dict[str, Any]:
    """Read the peaks of a machine; where they cannot be read, return what says so."""
    try:
        return read_content(path, MachineFile)
    except CorruptFile as error:
        return {"status": "unreadable", "reason": str(error)}
