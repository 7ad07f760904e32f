"""What the file of each study holds: the shapes that its readers rely on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from torchmodes.config import Device, Precision, Task
from torchmodes.results.reading import CorruptFile, Result, read_json
from torchmodes.results.records import (
    CallSeconds,
    Count,
    Identity,
    Label,
    NotNegative,
    Several,
    SpeedUp,
    Verdict,
)

Rate = Annotated[float, Field(gt=0)]


class Start(Result):
    """A case that was started twice."""

    case: Identity
    status: str = "ok"
    reason: str | None = None
    cold_s: NotNegative | None = None
    warm_s: NotNegative | None = None


class CompileCost(Result):
    """`torchmodes.studies.compile_cost`."""

    cases: list[Start]


class Context(Result):
    """A case in one context of inference."""

    case: Identity
    context: str
    status: str
    reason: str | None = None
    verdict: Verdict | None = None
    speed_up: SpeedUp | None = None
    latency_s: CallSeconds | None = None


class InferenceContext(Result):
    """`torchmodes.studies.inference_context`."""

    cases: list[Context]


class BatchPoint(Result):
    """One batch size of a series; latency and throughput are null where it was not measured."""

    batch_size: Several
    status: str = "ok"
    reason: str | None = None
    latency_s: CallSeconds | None
    throughput_per_s: Rate | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.latency_s is None) != (self.throughput_per_s is None):
            raise ValueError("latency_s and throughput_per_s go together")
        return self


class Series(Result):
    """The batch sizes of one mode of one model."""

    task: Task
    device: Device
    model: Label
    mode: Label
    precision: Precision
    item: str
    points: list[BatchPoint]
    knee: Several | None

    @model_validator(mode="after")
    def _knee_was_measured(self) -> Self:
        measured = [point.batch_size for point in self.points if point.latency_s is not None]
        if self.knee is not None and self.knee not in measured:
            raise ValueError(f"the knee, {self.knee}, is no batch size that was measured")
        return self


class BatchScaling(Result):
    """`torchmodes.studies.batch_scaling`."""

    series: list[Series]


class ThreadPoint(Result):
    """One number of threads against one thread."""

    threads: Several
    latency_s: CallSeconds
    speed_up: SpeedUp


class Threads(Result):
    """A case with several numbers of threads."""

    case: Identity
    status: str
    reason: str | None = None
    points: list[ThreadPoint] = Field([])


class ThreadScaling(Result):
    """`torchmodes.studies.thread_scaling`."""

    cases: list[Threads]


class Call(Result):
    """One call with one batch size."""

    batch_size: Several
    seconds: CallSeconds


class Shapes(Result):
    """A case whose batch size changes; null where it did not run."""

    case: Identity
    variant: Literal["automatic", "dynamic", "static", "mark_dynamic"]
    drop_last: bool | None = None
    status: str
    reason: str | None = None
    calls: list[Call] | None = None
    graphs: Count | None = None
    recompiles: Count | None = None
    usual_s: CallSeconds | None = None
    spike_s: CallSeconds | None = None


class DynamicShapes(Result):
    """`torchmodes.studies.dynamic_shapes`."""

    cases: list[Shapes]


HELD: Mapping[str, type[Result]] = {
    "batch_scaling": BatchScaling,
    "compile_cost": CompileCost,
    "dynamic_shapes": DynamicShapes,
    "inference_context": InferenceContext,
    "thread_scaling": ThreadScaling,
}
"""By the name of the study, which is that of its file."""


def read_study(path: Path) -> dict[str, Any]:
    """Read ``results/studies/{study}.json``.

    Raises
    ------
    torchmodes.results.reading.CorruptFile
        When it is missing, is the file of no study, or holds something else than that study's.
    """
    if path.stem not in HELD:
        raise CorruptFile(path, f"is of no study; there are {', '.join(HELD)}")
    return read_json(path, HELD[path.stem]).model_dump()
