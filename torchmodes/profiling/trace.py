"""Profile a case: every pass over it, each apart from the others, and the files they leave."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchmodes.models import import_libraries
from torchmodes.modes.base import first_line
from torchmodes.profiling.chrome import read_trace
from torchmodes.profiling.files import INTERNALS, OVERVIEW, TRACE
from torchmodes.profiling.internals import keep_internals
from torchmodes.profiling.kernels import kernel_table
from torchmodes.profiling.layers import ENGINES_WITH_MODULES, LayerTimer
from torchmodes.profiling.memory import ResidentMemory, memory_timeline, peak_by_category
from torchmodes.profiling.overview import Overview, overview
from torchmodes.profiling.python_time import python_functions
from torchmodes.profiling.recommendations import recommend
from torchmodes.profiling.record import SPANS, operator_table, record, record_lean
from torchmodes.profiling.work import Work, count_work
from torchmodes.subjects import (
    Job,
    Subject,
    configure_process,
    subject_of,
    synchronize,
    unsupported,
)

WARMUP_CALLS = 10
UNPROFILED_CALLS = 10
BUDGET_S = 2.0
"""Seconds after which warm-up and the unprofiled calls end early, at three calls the least."""


def profile_case(argument: dict[str, Any]) -> dict[str, Any]:
    """Profile a case; write its files, and return the summary.

    Parameters
    ----------
    argument
        A job (see `torchmodes.subjects.Job.of`) with ``table``, ``profile`` (the schedule:
        ``wait``, ``warmup``, ``active``, ``with_stack``, ``compiled_kernels``), and the
        ``directory`` to write to.

    Notes
    -----
    Each pass runs on its own, so that none distorts another: resident memory by phase, unprofiled
    calls, the trace, a lean trace for Python's overhead, cProfile, the layers, the work counted.
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    with kernels_named() if argument["profile"]["compiled_kernels"] else nullcontext():
        return _profile(job, argument)


def kernels_named() -> AbstractContextManager[Any]:
    """Return a context in which TorchInductor's CPU kernels tell the profiler their names.

    It changes the code that is generated: a compile cache holds nothing for it.
    """
    from torch._inductor import config

    return config.patch({"cpp.enable_kernel_profile": True})


def _profile(job: Job, argument: dict[str, Any]) -> dict[str, Any]:
    settings, directory = argument["profile"], Path(argument["directory"])
    device, active = job.case.device, settings["active"]
    import_libraries(job.model["family"])
    resident = ResidentMemory()
    with resident.phase("build and prepare"):
        subject = subject_of(job, argument["table"])

    def call() -> None:
        subject.call()
        synchronize(device)

    with subject.context():
        with resident.phase("first call"):
            call()
        with resident.phase("warm-up"):
            _seconds(call, WARMUP_CALLS)
        unprofiled_s = statistics.median(_seconds(call, UNPROFILED_CALLS))
        recorded = record(subject, job, settings, directory / TRACE)
        lean = record_lean(subject, job, steps=active)
        python_functions(call, calls=active).to_csv(directory / "python.csv", index=False)
    work, fault = _counted(job, argument["table"])  # after the rest: it builds a second model
    with subject.context():
        layers = _time_layers(subject, job, active, work, directory)
    trace = read_trace(directory / TRACE)
    table = operator_table(recorded, trace, lean.self_s, steps=active)
    table.to_csv(directory / "operators.csv", index=False)
    found = overview(trace)
    _write_overview(found, lean.overview, directory / OVERVIEW)
    kernel_table(trace).to_csv(directory / "kernels.csv", index=False)
    memory_timeline(resident.table(), trace).to_csv(directory / "memory.csv", index=False)
    return {
        "status": "ok",
        "steps": active,
        "span": SPANS[job.case.task],
        "profiled_step_s": found.wall_s,
        "unprofiled_step_s": unprofiled_s,
        "distortion": found.wall_s / unprofiled_s,
        "lean": _told(lean.overview, unprofiled_s),
        "flops": work.flops,
        "compulsory_bytes": work.compulsory_bytes,
        "operator_bytes": work.operator_bytes,
        "work_fault": fault,
        "layers": layers,
        "memory_peak_bytes": asdict(peak_by_category(trace, weights=subject.built.parameter_bytes)),
        "facts": subject.engine.facts(),
        "internals": keep_internals(subject, device, directory / INTERNALS),
    }


def _counted(job: Job, table: Sequence[str]) -> tuple[Work, str | None]:
    """Count the work; say why where a model of the user's own cannot be counted."""
    try:
        return count_work(job, table), None
    except Exception as error:  # noqa: BLE001 - whatever it was, the profile stands without it
        return Work(None, None, None, {}), first_line(error)


def _told(lean: Overview, unprofiled_s: float) -> dict[str, Any]:
    return {
        "step_s": lean.wall_s,
        "distortion": lean.wall_s / unprofiled_s,
        "parts": lean.parts,
        "uncovered_s": lean.uncovered_s,
        "uncovered_share": lean.uncovered_s / lean.wall_s,
    }


def _write_overview(found: Overview, lean: Overview, path: Path) -> None:
    tried = recommend(found, uncovered=lean.uncovered_s / lean.wall_s)
    content = found.content() | {"recommendations": [asdict(item) for item in tried]}
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _time_layers(subject: Subject, job: Job, calls: int, work: Work, directory: Path) -> str:
    """Write the table of layers; say what it holds, or why it is empty."""
    engine = job.mode["engine"]
    if engine not in ENGINES_WITH_MODULES:
        return f"none: the engine {engine} runs the model as a whole, not its modules"
    with LayerTimer(subject.built.module, wait=lambda: synchronize(job.case.device)) as timer:
        for _ in range(calls):
            subject.call()
    table = timer.table(calls=calls, flops=work.module_flops)
    if table.empty:
        return "none: the operators that the mode rewrote to call no module"
    table.to_csv(directory / "layers.csv", index=False)
    return "the forward pass, by module"


def _seconds(call: Any, calls: int) -> Sequence[float]:
    """Time some calls, fewer where they are long."""
    taken: list[float] = []
    while len(taken) < calls and (sum(taken) < BUDGET_S or len(taken) < 3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken
