"""Where the time of a step goes, and how busy the device is: computed from the trace alone.

The views are those of TensorBoard's profiler plugin; the formulas are in docs/profiles.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from torchmodes.profiling.chrome import Trace
from torchmodes.profiling.intervals import (
    Spans,
    capped_integral,
    intersect,
    length,
    subtract,
    union,
)
from torchmodes.profiling.kernels import (
    Launches,
    describe_launches,
    uses_tensor_cores,
    weighted_mean,
)

PARTS = (
    *("kernel", "memcpy", "memset", "communication", "runtime", "data_loading", "operator"),
    "other",
)
"""Parts of a step. Time in which several run belongs to the first of them alone."""


@dataclass(frozen=True)
class StepTime:
    """One step: its duration and its parts, which add up to it (seconds)."""

    wall_s: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Device:
    """How busy the GPU is; shares are from 0 to 1, None where the trace lacks the fields.

    docs/profiles.md has their formulas; of tensor cores, communication is left out.
    """

    utilisation: float
    sm_efficiency: float | None
    occupancy: float | None
    tensor_core_share: float | None


@dataclass(frozen=True)
class Overview:
    """The overview of a trace: means of its steps in seconds, and the steps one by one.

    In `uncovered_s` of a step neither an operator nor anything on the device runs. `device` and
    `launches` are None where nothing ran on a GPU.
    """

    wall_s: float
    parts: dict[str, float]
    uncovered_s: float
    steps: tuple[StepTime, ...]
    device: Device | None
    launches: Launches | None

    def share(self, part: str) -> float:
        """Return a part's share of the step."""
        return self.parts[part] / self.wall_s if self.wall_s else 0.0


def overview(trace: Trace) -> Overview:
    """Compute the overview of a trace."""
    inside = union(trace.steps[:, 0], trace.steps[:, 1])
    parts = exclusive_parts(trace)
    steps = []
    for start, end in trace.steps:
        step = union([start], [end])
        inside_step = {name: length(intersect(spans, step)) for name, spans in parts.items()}
        steps.append(StepTime(wall_s=length(step), parts=inside_step))
    count = max(1, len(steps))
    events = trace.events
    busy = events[events["device"] | events["kind"].isin(["operator", "communication"])]
    uncovered = subtract(inside, union(busy["start"], busy["end"]))
    return Overview(
        wall_s=sum(step.wall_s for step in steps) / count,
        parts={name: sum(step.parts[name] for step in steps) / count for name in PARTS},
        uncovered_s=length(uncovered) / count,
        steps=tuple(steps),
        device=_device(trace, inside) if trace.has_device and steps else None,
        launches=describe_launches(trace),
    )


def exclusive_parts(trace: Trace) -> dict[str, Spans]:
    """Part the time of all steps: each moment belongs to one part, the first that runs in it."""
    left = union(trace.steps[:, 0], trace.steps[:, 1])
    parts = {}
    for name in PARTS[:-1]:
        events = trace.of(name)
        covered = intersect(left, union(events["start"], events["end"]))
        parts[name] = covered
        left = subtract(left, covered)
    return parts | {"other": left}


def _device(trace: Trace, inside: Spans) -> Device:
    ran = _within(trace.kernels, trace.steps)
    seconds, wall = ran["end"] - ran["start"], length(inside)
    computing = ran["kind"] == "kernel"
    known = ran[ran["blocks_per_sm"].notna()]
    blocks = capped_integral(known["start"], known["end"], known["blocks_per_sm"], cap=1.0)
    occupancy = weighted_mean(ran["occupancy"], seconds)
    on_tensor_cores = seconds[computing & ran["name"].map(uses_tensor_cores).astype(bool)].sum()
    return Device(
        utilisation=length(union(ran["start"], ran["end"])) / wall,
        sm_efficiency=blocks / wall if len(known) else None,
        occupancy=None if np.isnan(occupancy) else occupancy,
        tensor_core_share=float(on_tensor_cores / seconds[computing].sum())
        if computing.any()
        else None,
    )


def _within(events: pd.DataFrame, steps: Spans) -> pd.DataFrame:
    """Cut events off at the bounds of the steps; what lies outside of them is left out."""
    cut = [
        events.assign(start=events["start"].clip(lower=start), end=events["end"].clip(upper=end))
        for start, end in steps
    ]
    within = pd.concat(cut) if cut else events.iloc[:0]
    return within[within["end"] > within["start"]]
