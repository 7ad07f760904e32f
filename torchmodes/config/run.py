"""The whole configuration: data, training, what to measure, profile and study, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from torchmodes.config.base import (
    Count,
    DeviceChoice,
    FilePath,
    Name,
    Positive,
    Precision,
    Section,
    Share,
    Task,
    or_null,
)
from torchmodes.config.models import Model
from torchmodes.config.modes import BASELINE_MODE, Mode, ModeSection

SYNTHETIC = "synthetic"
HOUSING_FEATURES = [
    "Avg. Area Income",
    "Avg. Area House Age",
    "Avg. Area Number of Rooms",
    "Avg. Area Number of Bedrooms",
    "Area Population",
]

Allocator = Literal["system", "glibc-tuned", "jemalloc", "tcmalloc"]

ModePair = Annotated[list[str], Field(min_length=2, max_length=2)]


class Data(Section):
    """The house-price table and how it is split."""

    source: FilePath = Field(
        SYNTHETIC, description="`synthetic`, or the path of a CSV file with a header"
    )
    rows: int = Field(20_000, description="rows to generate; ignored for a CSV file", ge=100)
    features: list[str] = Field(
        HOUSING_FEATURES, description="numeric columns the model reads", min_length=1
    )
    target: str = Field("Price", description="numeric column the model predicts")
    validation: Share = Field(0.1, description="share of rows for validation")
    test: Share = Field(0.1, description="share of rows held out for the final metrics")

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.target in self.features:
            raise ValueError(f"target {self.target!r} is among the features, too; remove it there")
        if repeated := sorted({name for name in self.features if self.features.count(name) > 1}):
            raise ValueError(f"features lists {', '.join(repeated)} more than once")
        if self.validation + self.test > 0.9:
            raise ValueError("validation + test leave less than 10 % of the rows for training")
        if self.source == SYNTHETIC and (self.features, self.target) != (HOUSING_FEATURES, "Price"):
            raise ValueError("features and target can be chosen only with a CSV file as source")
        return self


class Training(Section):
    """Training of the house-price model, once per mode."""

    device: DeviceChoice = Field("auto", description="where to train")
    model: str = Field("house_price", description="a model of family mlp")
    modes: list[str] = Field([], description="modes to train in; an empty list trains nothing")
    batch_size: Count = Field(2048, description="rows per optimiser step")
    epochs: Count = Field(60, description="passes over the training split")
    learning_rate: Positive = Field(0.01, description="learning rate of Adam")


class Grid(Section):
    """A block of cases: every combination of its lists."""

    task: Task = Field(
        description="what one call does: an optimiser step, a forward pass, or generating text"
        " token by token"
    )
    models: list[str] = Field(description="names defined under `models`", min_length=1)
    modes: list[str] = Field(description="names defined under `modes`", min_length=1)
    precisions: list[Precision] = Field(["fp32"], description="number formats", min_length=1)
    batch_sizes: list[Count] = Field(description="items per call", min_length=1)
    devices: list[DeviceChoice] = Field(["auto"], description="where to run", min_length=1)


class Measurement(Section):
    """How a case is measured; `docs/measuring.md` explains each figure."""

    target_half_width: Share = Field(
        0.02,
        description="a run stops sampling once its own 95 % interval is ± this (relative); runs"
        " differ from each other by more anyway",
    )
    runs: int = Field(
        3,
        ge=1,
        le=1000,
        description="processes in which a case is measured, spread over the workflow; raising it"
        " measures only the additional ones",
    )
    budget_s: Positive = Field(2.0, description="maximum seconds of sampling per run")
    warmup_budget_s: Positive = Field(2.0, description="maximum seconds of warm-up per run")
    min_quads: int = Field(
        10, description="blocks (ABBA) taken before the interval is first checked", ge=5
    )
    minimum_effect: Share = Field(
        0.01,
        description="the smallest relative difference in speed that matters; verdicts ignore"
        " smaller ones",
    )
    time_limit_s: Positive = Field(
        600.0, description="seconds after which a case is killed and recorded as failed"
    )
    memory_limit_mb: Count | None = Field(
        None,
        description="resident memory in MB above which a case is killed and recorded as failed;"
        " null: no limit",
    )
    flush_l2: bool = Field(False, description="CUDA: empty the L2 cache before each sample")
    start: Literal["auto", "fork", "fresh"] = Field(
        "auto",
        description="whether a case's process is forked from a preloaded server or is a fresh"
        " interpreter; auto: forked on Linux",
    )
    allocator: Allocator = Field(
        "system",
        description="memory allocator of every case's process, for eager as well: the system's,"
        " glibc's tuned to keep freed memory, or an installed library",
    )

    @model_validator(mode="after")
    def _in_time(self) -> Measurement:
        longest_s = self.budget_s + self.warmup_budget_s
        if longest_s > self.time_limit_s:
            raise ValueError(
                f"time_limit_s ({self.time_limit_s:g}) is less than a run may take:"
                f" {longest_s:g} s (budget_s + warmup_budget_s)"
            )
        return self


class Profile(Section):
    """Which cases are profiled, and torch.profiler's schedule."""

    cases: list[Grid] = Field([], description="blocks of cases to profile, as under `benchmark`")
    picks: bool = Field(
        False,
        description="once everything is measured, profile eager and the mode to ship of each"
        " group, and compare the two",
    )
    runner_up: bool = Field(
        False, description="with `picks`: profile the second fastest mode as well"
    )
    diffs: list[ModePair] = Field(
        [], description="pairs of modes whose profiles are compared, wherever both are profiled"
    )
    wait: int = Field(1, description="steps before the profiler starts", ge=0)
    warmup: int = Field(1, description="steps the profiler runs and discards", ge=0)
    active: Count = Field(3, description="steps that are recorded")
    with_stack: bool = Field(True, description="record Python call stacks (bigger traces)")
    compiled_kernels: Literal[True, False, "picks"] = Field(
        "picks",
        description="name the kernels that TorchInductor generates for a CPU and what they fuse,"
        " which compiles once more, for the profile alone; picks: only for the cases that `picks`"
        " chooses",
    )

    def schedule(self, mode: ModeSection, *, listed: bool) -> dict[str, Any]:
        """Return what the profile of a case in a mode depends on.

        A mode whose code is not compiled has no kernels to name. The case is `listed` among
        `cases`, or else a pick.
        """
        asked = not listed if self.compiled_kernels == "picks" else self.compiled_kernels
        schedule = self.model_dump(include={"wait", "warmup", "active", "with_stack"})
        return schedule | {"compiled_kernels": asked and mode.needs_compiler()}


class Studies(Section):
    """Questions that one case cannot answer."""

    compile_cost: list[Grid] = Field(
        [],
        description="cases whose cold start is compared with a start from a filled compile cache",
    )
    inference_context: list[Grid] = Field(
        [], description="eager modes whose context is grad or no_grad, compared with inference_mode"
    )
    batch_scaling: list[Grid] = Field(
        [], description="cases whose latency and throughput are compared across batch_sizes"
    )
    thread_scaling: list[Grid] = Field(
        [], description="cases measured with one thread against 2, 4, 8 … up to all cores"
    )
    dynamic_shapes: list[Grid] = Field(
        [],
        description="compiled modes that are called with changing batch sizes: every size up to"
        " the largest (inference), or a last, smaller batch (training)",
    )
    position: list[Grid] = Field(
        [],
        description="generation cases whose decode step is measured at positions from the first to"
        " the last",
    )


class Config(Section):
    """The whole of ``config.yaml``."""

    seed: int = Field(
        42, description="seed of data, weights, splits and sample order", ge=0, le=2**63 - 1
    )
    strict: bool = Field(
        False, description="end with exit code 1 when a case failed, is wrong or cannot be read"
    )
    base: FilePath | None = Field(
        None,
        description="results folder of another run, with which reports/comparison.html compares"
        " this one",
    )
    deterministic: bool = Field(
        False, description="use only deterministic algorithms of PyTorch and cuDNN; often slower"
    )
    data: Data
    models: dict[Name, Model] = Field(
        description="what is executed, each model under a name of your choice"
    )
    modes: dict[Name, Mode] = Field(
        description="how it is executed, each mode under a name of your choice"
    )
    training: Annotated[Training, or_null(Training)] = Field(
        None, description="what is trained; null: nothing", validate_default=True
    )
    benchmark: list[Grid] = Field(description="blocks of cases to measure", min_length=1)
    profile: Annotated[Profile, or_null(Profile)] = Field(
        None, description="what is profiled, and how; null: nothing", validate_default=True
    )
    studies: Annotated[Studies, or_null(Studies)] = Field(
        None, description="what is studied; null: nothing", validate_default=True
    )
    measurement: Measurement

    def blocks(self) -> list[Grid]:
        """Return every block of cases: those to measure, to profile and to study."""
        studied = [grid for study in Studies.model_fields for grid in getattr(self.studies, study)]
        return [*self.benchmark, *self.profile.cases, *studied]

    def about_what_runs(self) -> Config:
        """Return this configuration without the models and modes that nothing uses."""
        blocks = self.blocks()
        models = {name for grid in blocks for name in grid.models}
        modes = {BASELINE_MODE, *(name for grid in blocks for name in grid.modes)}
        if self.training.modes:
            models.add(self.training.model)
            modes.update(self.training.modes)
        pairs = [pair for pair in self.profile.diffs if modes.issuperset(pair)]
        return self.model_copy(
            update={
                "models": {name: self.models[name] for name in self.models if name in models},
                "modes": {name: self.modes[name] for name in self.modes if name in modes},
                "profile": self.profile.model_copy(update={"diffs": pairs}),
            }
        )
