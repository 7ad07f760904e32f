"""What the file of a machine holds, as those who place cases under its roof rely on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from torchmodes.reading import CorruptFile, Result, read_json

Rate = Annotated[float, Field(gt=0)]


class Ceiling(Result):
    """What a device reached with some host threads; null: not in that precision."""

    model_config = ConfigDict(extra="allow")

    threads: int
    flops_per_s: dict[str, Rate | None]
    copy_bytes_per_s: Rate
    triad_bytes_per_s: Rate


class Peaks(Result):
    """``results/machine/{device}.json``."""

    model_config = ConfigDict(extra="allow")

    status: str
    reason: str | None = None
    ceilings: list[Ceiling] = Field([])

    @model_validator(mode="after")
    def _ok_has_ceilings(self) -> Self:
        if self.status == "ok" and not self.ceilings:
            raise ValueError("the status is ok, and ceilings is missing")
        return self


def read_peaks(path: Path) -> dict[str, Any]:
    """Read a machine's file; one that cannot be read is a machine of which nothing is known."""
    try:
        return read_json(path, Peaks).model_dump()
    except CorruptFile as error:
        reason = f"{error.unreadable.path} {error.unreadable.reason}"
        return {"status": "unreadable", "reason": reason, "remedy": error.unreadable.remedy}
