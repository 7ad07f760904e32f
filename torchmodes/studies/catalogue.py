"""The studies: each registered once, with what its file holds.

To add one: its list of blocks in `torchmodes.config.run.Studies`, its type and entry here, a module
of its name in this folder with a function ``study``, and one in ``torchmodes/report/studies`` that
describes and draws it. Nothing here imports what runs a study: the workflow reads this whenever it
starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from torchmodes.config.base import Device, Precision, Task
from torchmodes.planning.cases import Case
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


class StudyResult(Result):
    """What a study's file holds."""

    def judged(self, verdicts: Mapping[Case, Verdict | None]) -> Self:
        """Return the same with the verdicts that stand among all cases of the run."""
        return self


class MeasuredStudy(StudyResult):
    """What a study that ran cases itself holds."""

    environment: dict[str, Any] = Field({})


class StudiedCase(Result):
    """A case of a study, and how it ended."""

    case: Identity
    status: str = "ok"
    reason: str | None = None

    @property
    def identity(self) -> Case:
        """The case."""
        return Case(**self.case.model_dump())


class Start(StudiedCase):
    """A case that was started twice, in seconds; null where it did not start."""

    cold_s: NotNegative | None = None
    warm_s: NotNegative | None = None


class CompileCost(MeasuredStudy):
    """`torchmodes.studies.compile_cost`."""

    cases: list[Start]


class InContext(StudiedCase):
    """A case in one context of inference: ``grad``, ``no_grad`` or ``inference_mode``.

    A speed-up below 1 says that the context costs time; null where it was not measured.
    """

    context: str
    verdict: Verdict | None = None
    speed_up: SpeedUp | None = None
    latency_s: CallSeconds | None = None


class InferenceContext(StudyResult):
    """`torchmodes.studies.inference_context`."""

    cases: list[InContext]

    def judged(self, verdicts: Mapping[Case, Verdict | None]) -> Self:
        """Return the same with the verdicts that stand among all cases of the run."""
        cases = [
            case.model_copy(update={"verdict": verdicts.get(case.identity, case.verdict)})
            for case in self.cases
        ]
        return self.model_copy(update={"cases": cases})


class BatchPoint(Result):
    """One batch size of a series; latency and throughput are null where it was not measured.

    From a latency with a `no_verdict` nothing is concluded.
    """

    batch_size: Several
    status: str = "ok"
    reason: str | None = None
    no_verdict: str | None = None
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


class BatchScaling(StudyResult):
    """`torchmodes.studies.batch_scaling`."""

    series: list[Series]


class ThreadPoint(Result):
    """One number of threads against one thread."""

    threads: Several
    latency_s: CallSeconds
    speed_up: SpeedUp


class Threads(StudiedCase):
    """A case with several numbers of threads."""

    points: list[ThreadPoint] = Field([])


class ThreadScaling(MeasuredStudy):
    """`torchmodes.studies.thread_scaling`."""

    cases: list[Threads]


class Call(Result):
    """One call with one batch size."""

    batch_size: Several
    seconds: CallSeconds


class Shapes(StudiedCase):
    """A case whose batch size changes; null where it did not run.

    `usual_s` is the median of the second half, `spike_s` the slowest call after the first.
    """

    variant: Literal["automatic", "dynamic", "static", "mark_dynamic"]
    drop_last: bool | None = Field(None, description="null: inference")
    calls: list[Call] | None = None
    graphs: Count | None = None
    recompiles: Count | None = None
    usual_s: CallSeconds | None = None
    spike_s: CallSeconds | None = None


class DynamicShapes(MeasuredStudy):
    """`torchmodes.studies.dynamic_shapes`."""

    cases: list[Shapes]


class PositionPoint(Result):
    """A decode step at one position of the cache, and eager's beside it."""

    position: Several
    latency_s: CallSeconds
    eager_s: CallSeconds
    speed_up: SpeedUp


class Positions(StudiedCase):
    """A case at several positions."""

    points: list[PositionPoint] = Field([])


class Position(MeasuredStudy):
    """`torchmodes.studies.position`."""

    cases: list[Positions]


@dataclass(frozen=True)
class StudyEntry:
    """One study; its name is that of its list under ``studies``, of its file and of its modules.

    Attributes
    ----------
    result
        What its file holds.
    child
        The module that works in the processes it starts; None: it is made of records.
    processes
        How many it starts for a case, at the most.
    samples
        Whether its cases depend on how cases are sampled.
    baselines
        Whether the baselines that its blocks imply are cases of it, too.
    """

    name: str
    title: str
    result: type[StudyResult]
    child: str | None = None
    processes: int = 0
    samples: bool = False
    baselines: bool = False

    @property
    def module(self) -> str:
        """The module that makes it."""
        return f"torchmodes.studies.{self.name}"

    @property
    def page(self) -> str:
        """The module that tells and draws it."""
        return f"torchmodes.report.studies.{self.name}"

    @property
    def study(self) -> Callable[..., StudyResult]:
        """What makes it, from records or by running its cases."""
        return import_module(self.module).study


STUDIES: Mapping[str, StudyEntry] = {
    entry.name: entry
    for entry in (
        StudyEntry(
            name="compile_cost",
            title="A second start, from a warm compile cache",
            result=CompileCost,
            child="torchmodes.measure.case",
            processes=2,
        ),
        StudyEntry(
            name="inference_context",
            title="Inference context: grad, no_grad or inference_mode",
            result=InferenceContext,
        ),
        StudyEntry(
            name="batch_scaling",
            title="Batch size: latency against throughput",
            result=BatchScaling,
        ),
        StudyEntry(
            name="thread_scaling",
            title="Threads: what each further one brings",
            result=ThreadScaling,
            child="torchmodes.studies.threads_job",
            processes=1,
            samples=True,
            baselines=True,
        ),
        StudyEntry(
            name="dynamic_shapes",
            title="Changing batch sizes under torch.compile",
            result=DynamicShapes,
            child="torchmodes.studies.shapes_job",
            processes=8,
        ),
        StudyEntry(
            name="position",
            title="Position: a decode step as the cache fills",
            result=Position,
            child="torchmodes.studies.position_job",
            processes=1,
            samples=True,
        ),
    )
}
"""By name."""


def read_study(path: Path) -> StudyResult:
    """Read ``results/studies/{study}.json``.

    Raises
    ------
    torchmodes.results.reading.CorruptFile
        When it is missing, is the file of no study, or holds something else than that study's.
    """
    if path.stem not in STUDIES:
        raise CorruptFile(path, f"is of no study; there are {', '.join(STUDIES)}")
    return read_json(path, STUDIES[path.stem].result)
