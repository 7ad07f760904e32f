"""Profile a case: several passes over it, apart from each other, and the files that they write."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from torch.profiler import profile

from torchmodes.config.modes import read_mode
from torchmodes.config.run import Profile
from torchmodes.machine.devices import usable_cores
from torchmodes.machine.machine import describe_processor
from torchmodes.planning.job import Job
from torchmodes.profiling.chrome import ENGINE_THREAD, Trace, parse_trace, read_trace
from torchmodes.profiling.compiled import NamedKernels, fused_table, kernels_named
from torchmodes.profiling.files import (
    BY_HOOKS,
    GENERATED_CODE,
    OVERVIEW,
    STACKS,
    TRACE,
    write_empty,
)
from torchmodes.profiling.generated_code import keep_generated_code
from torchmodes.profiling.kernels import kernel_table
from torchmodes.profiling.layers import LayerTimer
from torchmodes.profiling.memory import ResidentMemory, memory_timeline, peak_by_category
from torchmodes.profiling.operator_groups import MULTIPLYING, group_of
from torchmodes.profiling.overview import Overview, overview
from torchmodes.profiling.own_profiler import layers_of_calls, share_with_layer
from torchmodes.profiling.python_time import python_functions
from torchmodes.profiling.recommendations import recommend, recommend_on_cpu
from torchmodes.profiling.record import SPANS, Lean, operator_table, record, record_lean
from torchmodes.profiling.stacks import stacks_of
from torchmodes.profiling.work import Work, count_work
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.models import import_libraries
from torchmodes.workloads.workload import Workload, synchronize, workload_of

WARMUP_CALLS = 10
UNPROFILED_CALLS = 10
BUDGET_S = 2.0
"""Seconds after which warm-up and the unprofiled calls end early, at three calls the least."""
OF_THE_TRACE = ("operators", "overview", "kernels", "stacks")
"""Parts that are computed from the trace alone."""
NO_TRACE = parse_trace([])
NOTHING_COUNTED = Work(None, None, None, None, {})

T = TypeVar("T")


def profile_case(job: Job, *, schedule: dict[str, Any], directory: str) -> dict[str, Any]:
    """Profile a case; write its files to a directory, and return the summary.

    The schedule is as under ``profile`` in the configuration. Each pass runs on its own, so that
    none distorts another: resident memory by phase, unprofiled calls, the trace, a lean trace for
    Python's overhead, cProfile, the layers, the work counted. A case that can be built and called
    has a profile: a part that fails is missing in it, and ``faults`` says why, by its name.
    """
    settings = Profile(**schedule)
    if settings.compiled_kernels is not True or job.case.device != "cpu":
        return _profile(job, settings, Path(directory), None)
    with kernels_named() as kernels:
        # What was shipped holds no names: it is made again.
        return _profile(replace(job, shipped=None), settings, Path(directory), kernels)


@dataclass
class Parts:
    """Runs the parts of a profile, each apart: what one raises costs nothing but itself.

    Their files lie in `directory`; `faults` says why a part is missing, by its name.
    """

    directory: Path
    faults: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, part: Callable[[], T], *, file: str | None = None) -> T | None:
        """Return what a part returns, or None where it fails; its file is left empty then."""
        try:
            return part()
        except Exception as error:  # noqa: BLE001 - PyTorch and a user's model raise anything
            self.faults[name] = reason_of(error)
            if file is not None:
                write_empty(self.directory / file)
            return None

    def write(self, file: str, table: Callable[[], pd.DataFrame]) -> None:
        """Write a table; its part is named after the file."""
        path = self.directory / file
        self.run(path.stem, lambda: table().to_csv(path, index=False), file=file)


def _profile(
    job: Job, settings: Profile, directory: Path, kernels: NamedKernels | None
) -> dict[str, Any]:
    device, active = job.case.device, settings.active
    import_libraries(job.model["family"])
    parts, resident = Parts(directory), ResidentMemory()
    with resident.phase("build and prepare"):
        workload = workload_of(job)

    def call() -> None:
        workload.call()
        synchronize(device)

    with workload.context():
        with resident.phase("first call"):
            call()
        with resident.phase("warm-up"):
            _seconds(call, WARMUP_CALLS)
        unprofiled_s = statistics.median(_seconds(call, UNPROFILED_CALLS))
        recorded = parts.run(
            "trace", lambda: record(workload, job, settings, directory / TRACE), file=TRACE
        )
        lean = parts.run("lean", lambda: record_lean(workload, job, steps=active, kernels=kernels))
        if lean is None:
            parts.faults["timeline"] = "there is no lean recording to take it from"
        else:
            lean.timeline.to_csv(directory / "timeline.csv", index=False)
            if kernels is not None and lean.ran is not None:
                fused_table(lean.ran).to_csv(directory / "fused.csv", index=False)
        parts.write("python.csv", lambda: python_functions(call, calls=active))
    # After the rest: it builds a second model.
    work = parts.run("work", lambda: count_work(job)) or NOTHING_COUNTED
    with workload.context():
        layers = parts.run(
            "layers",
            lambda: _time_layers(workload, job, active, work, lean, directory),
            file="layers.csv",
        )
    of_trace = _of_the_trace(parts, job, recorded, lean, resident, workload, unprofiled_s, settings)
    generated = parts.run(
        "internals", lambda: keep_generated_code(workload, device, directory / GENERATED_CODE)
    )
    return {
        "status": "ok",
        "steps": active,
        "span": SPANS[job.case.task],
        "unprofiled_step_s": unprofiled_s,
        **of_trace,
        "lean": None if lean is None else _in_brief(lean.overview, unprofiled_s),
        "flops": work.flops,
        "flops_fault": work.flops_fault,
        "compulsory_bytes": work.compulsory_bytes,
        "operator_bytes": work.operator_bytes,
        "work_fault": parts.faults.get("work"),
        "layers": layers or f"none: {parts.faults['layers']}",
        "facts": parts.run("facts", workload.engine.stats) or {},
        "internals": generated or {"files": [], "fault": parts.faults["internals"]},
        "faults": parts.faults,
    }


def _of_the_trace(
    parts: Parts,
    job: Job,
    recorded: profile | None,
    lean: Lean | None,
    resident: ResidentMemory,
    workload: Workload,
    unprofiled_s: float,
    settings: Profile,
) -> dict[str, Any]:
    """Write what is computed from the trace, and return what the summary tells of it."""
    trace = None
    if recorded is not None:
        trace = parts.run("trace", lambda: read_trace(parts.directory / TRACE))
    if trace is None or recorded is None:
        parts.faults |= dict.fromkeys(OF_THE_TRACE, "there is no trace to compute it from")
        parts.write("memory.csv", lambda: memory_timeline(resident.table(), NO_TRACE))
        untold = {"profiled_step_s": None, "distortion": None, "memory_peak_bytes": None}
        return {**untold, "stacks": f"none: {parts.faults['stacks']}"}
    own = pd.Series(dtype=float) if lean is None else lean.self_s
    parts.write(
        "operators.csv", lambda: operator_table(recorded, trace, own, steps=settings.active)
    )
    parts.write("kernels.csv", lambda: kernel_table(trace))
    parts.write("memory.csv", lambda: memory_timeline(resident.table(), trace))
    shown = parts.run(
        "overview", lambda: _overview(trace, job, lean, parts.directory / OVERVIEW), file=OVERVIEW
    )
    stacks = parts.run(
        "stacks", lambda: _write_stacks(trace, job, settings, parts.directory), file=STACKS
    )
    peak = parts.run(
        "memory_peak", lambda: peak_by_category(trace, weights=workload.built.parameter_bytes)
    )
    return {
        "profiled_step_s": None if shown is None else shown.wall_s,
        "distortion": None if shown is None else shown.wall_s / unprofiled_s,
        "memory_peak_bytes": None if peak is None else asdict(peak),
        "stacks": stacks or f"none: {parts.faults['stacks']}",
    }


def _write_stacks(trace: Trace, job: Job, settings: Profile, directory: Path) -> str:
    """Write the Python stacks; say what they hold, or why there are none."""
    if not settings.with_stack:
        return "none: `profile.with_stack` is false"
    if trace.events["thread"].str.endswith(f"/{ENGINE_THREAD}").any():
        return f"none: the engine {job.mode['engine']} runs its operators outside Python"
    found = stacks_of(trace)
    if not found.profiles:
        return "none: the recorded steps hold no Python function"
    (directory / STACKS).write_text(found.text(), encoding="utf-8")
    return "Python functions, and the operators that they call"


def _in_brief(lean: Overview, unprofiled_s: float) -> dict[str, Any]:
    return {
        "step_s": lean.wall_s,
        "distortion": lean.wall_s / unprofiled_s,
        "parts": lean.parts,
        "uncovered_s": lean.uncovered_s,
        "uncovered_share": lean.uncovered_s / lean.wall_s,
    }


def _overview(trace: Trace, job: Job, lean: Lean | None, path: Path) -> Overview:
    found = overview(trace)
    uncovered = None if lean is None else lean.overview.uncovered_s / lean.overview.wall_s
    tried = recommend(found, uncovered=uncovered)
    if job.case.device == "cpu" and lean is not None:
        groups = lean.self_s.groupby(group_of).sum().reindex(MULTIPLYING).sum()
        tried += recommend_on_cpu(
            job.case,
            multiplying=groups / lean.overview.wall_s,
            isa=describe_processor().isa,
            threads=job.threads,
            cores=usable_cores(),
        )
    content = asdict(found) | {"recommendations": [asdict(item) for item in tried]}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return found


def _time_layers(
    workload: Workload, job: Job, calls: int, work: Work, lean: Lean | None, directory: Path
) -> str:
    """Write the table of layers; say what it holds, or why it is empty."""
    module, told = workload.built.module, BY_HOOKS
    if lean is not None and lean.ran:
        share = share_with_layer(lean.ran)
        if not share:
            return "none: the engine's operators do not tell which module they come from"
        table = layers_of_calls(lean.ran, module, work.module_flops)
        told = f"operators by module: {100 * share:.0f} % of their time tells one"
    elif not workload.engine.calls_modules:
        told = f"none: the engine {job.mode['engine']} runs the model as a whole, not its modules"
        named = read_mode(job.mode).needs_compiler() and job.case.device == "cpu"
        return f"{told} (profile.compiled_kernels: true lets its kernels tell)" if named else told
    else:
        with LayerTimer(module, wait=lambda: synchronize(job.case.device)) as timer:
            for _ in range(calls):
                workload.call()
        table = timer.table(calls=calls, flops=work.module_flops)
        if table.empty:
            return "none: the operators that the mode rewrote to call no module"
    table.to_csv(directory / "layers.csv", index=False)
    return told


def _seconds(call: Any, calls: int) -> Sequence[float]:
    """Time some calls, fewer where they are long."""
    taken: list[float] = []
    while len(taken) < calls and (sum(taken) < BUDGET_S or len(taken) < 3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken
