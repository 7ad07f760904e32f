"""Record a few steps of a case with torch.profiler."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from torchmodes.config.run import Profile
from torchmodes.planning.job import Job
from torchmodes.profiling.chrome import ENGINE_THREAD, Trace, read_trace
from torchmodes.profiling.compiled import NamedKernels, kernels_of_steps
from torchmodes.profiling.files import OPERATOR_COLUMNS
from torchmodes.profiling.overview import Overview, overview
from torchmodes.profiling.own_profiler import add_to_trace, under_own_profiler
from torchmodes.profiling.self_time import self_times
from torchmodes.profiling.timeline import timeline
from torchmodes.workloads.modes.base import ExecutedOperator
from torchmodes.workloads.workload import Workload, synchronize

SPANS = {
    "training": "model_train_step",
    "inference": "model_inference",
    "generation": "model_decode_step",
}
"""The named span around each recorded step."""
SHAPES_SHOWN = 3


def record(workload: Workload, job: Job, settings: Profile, trace: Path) -> profile:
    """Run the schedule once and write the trace, with what the engine's own profiler tells."""
    workload, own = under_own_profiler(workload)
    with profile(
        activities=_activities(job),
        schedule=schedule(
            wait=settings.wait, warmup=settings.warmup, active=settings.active, repeat=1
        ),
        on_trace_ready=lambda recorded: recorded.export_chrome_trace(str(trace)),
        record_shapes=True,
        profile_memory=True,
        with_stack=settings.with_stack,
        with_flops=True,
        acc_events=True,
    ) as recorded:
        for _ in range(settings.wait + settings.warmup + settings.active):
            with record_function(SPANS[job.case.task]):
                workload.call()
                synchronize(job.case.device)
            recorded.step()
    if own is not None:
        add_to_trace(trace, own)
    return recorded


@dataclass(frozen=True)
class Lean:
    """Steps recorded without shapes, memory and stacks.

    Recording those makes Python slower, and not the operators; so Python's overhead and what
    changed between two modes are read from here.

    `self_s` is the own time of each operator per step, by name, `timeline` of one step. `ran` tells
    what each step ran, with the modules that it comes from: operators as the engine's own profiler
    tells them, or named kernels of generated code; None where there are neither.
    """

    overview: Overview
    self_s: pd.Series
    timeline: pd.DataFrame
    ran: list[tuple[ExecutedOperator, ...]] | None = None


def record_lean(
    workload: Workload, job: Job, *, steps: int, kernels: NamedKernels | None = None
) -> Lean:
    """Record so many steps as lightly as the profiler can; `kernels`, where they are named."""
    workload, own = under_own_profiler(workload)
    with profile(activities=_activities(job)) as recorded:
        workload.call()  # the profiler's own start falls into it
        synchronize(job.case.device)
        for step in range(steps):
            with record_function(f"ProfilerStep#{step}"):
                workload.call()
                synchronize(job.case.device)
    with tempfile.TemporaryDirectory(prefix="torchmodes-") as folder:
        path = Path(folder, "lean.json")
        recorded.export_chrome_trace(str(path))
        ran = None if own is None else [call.operators for call in add_to_trace(path, own)]
        trace = read_trace(path)
    if kernels is not None and (sites := kernels.sites()):
        modules = {name for name, _ in workload.built.module.named_modules()}
        ran = kernels_of_steps(trace, sites, modules)
    return Lean(overview(trace), self_times(trace) / steps, timeline(trace), ran)


def operator_table(recorded: profile, trace: Trace, lean: pd.Series, *, steps: int) -> pd.DataFrame:
    """Return one row per operator, times and counts per step, the largest self time first.

    Columns: operator, calls, self_cpu_s, total_cpu_s, mean_s (CPU, per call), lean_self_s (as
    self_cpu_s, of the lean recording), self_device_s, total_device_s (seconds), flops (as PyTorch
    counts them for matrix products and convolutions), memory_bytes (allocated by the operator
    itself; negative: freed), shapes (of the inputs, the most expensive ones).
    """
    shapes, times = _shapes(recorded), self_times(trace)
    own = trace.in_steps(trace.events[trace.events["thread"].str.endswith(f"/{ENGINE_THREAD}")])
    rows = [
        (
            event.key,
            event.count / steps,
            times.get(event.key, event.self_cpu_time_total / 1e6) / steps,
            event.cpu_time_total / 1e6 / steps,
            event.cpu_time_total / 1e6 / event.count,
            lean.get(event.key, 0.0),
            event.self_device_time_total / 1e6 / steps,
            event.device_time_total / 1e6 / steps,
            event.flops / steps,
            (event.self_cpu_memory_usage + event.self_device_memory_usage) / steps,
            "; ".join(shapes.get(event.key, [])),
        )
        for event in recorded.key_averages()
        # Kernels are events too, beside the operators that launched them.
        if event.device_type == DeviceType.CPU and not event.key.startswith("ProfilerStep")
    ]
    for name, ran in own.groupby("name"):
        total_s = (ran["end"] - ran["start"]).sum()
        cpu = (len(ran) / steps, times[name] / steps, total_s / steps, total_s / len(ran))
        rows.append((name, *cpu, lean.get(name, 0.0), 0.0, 0.0, 0, 0, ""))
    table = pd.DataFrame(rows, columns=list(OPERATOR_COLUMNS))
    order = (table["self_cpu_s"] + table["self_device_s"]).sort_values(ascending=False).index
    return table.loc[order]


def _shapes(recorded: profile) -> dict[str, list[str]]:
    """Return the shapes of each operator's inputs, the most expensive first."""
    shapes = defaultdict(list)
    by_shape = recorded.key_averages(group_by_input_shape=True)
    for event in sorted(by_shape, key=lambda e: -(e.cpu_time_total + e.device_time_total)):
        text = ", ".join("x".join(map(str, shape)) for shape in event.input_shapes if shape)
        if text and len(shapes[event.key]) < SHAPES_SHOWN:
            shapes[event.key].append(text)
    return shapes


def _activities(job: Job) -> list[ProfilerActivity]:
    activities = [ProfilerActivity.CPU]
    if job.case.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    return activities
