"""Record a few steps of a case with torch.profiler."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from torchmodes.subjects import (
    Job,
    Subject,
    configure_process,
    subject_of,
    synchronize,
    unsupported,
)

SPANS = {"training": "model_train_step", "inference": "model_inference"}
"""The named span around each recorded step."""
UNPROFILED_CALLS = 10
OPERATOR_COLUMNS = (
    "operator",
    "calls",
    "self_cpu_s",
    "total_cpu_s",
    "self_device_s",
    "total_device_s",
    "flops",
    "memory_bytes",
)


def profile_case(argument: dict[str, Any]) -> dict[str, Any]:
    """Profile a case; write its trace and its operators, and return the summary.

    Parameters
    ----------
    argument
        A job (see `torchmodes.subjects.Job.of`) with ``table``, ``profile`` (the schedule:
        ``wait``, ``warmup``, ``active``, ``with_stack``), and the paths to write: ``trace`` (a
        Chrome trace, gzipped) and ``operators_table`` (CSV).
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    settings = argument["profile"]
    subject = subject_of(job, argument["table"])
    with subject.context():
        for _ in range(UNPROFILED_CALLS):
            subject.call()
        unprofiled_s = _seconds_per_call(subject, job.case.device, settings["active"])
        recorded = _record(subject, job, settings, Path(argument["trace"]))
    operators = operator_table(recorded, steps=settings["active"])
    operators.to_csv(argument["operators_table"], index=False)
    profiled_s = sum(
        event.cpu_time_total / 1e6
        for event in recorded.key_averages()
        if event.key.startswith("ProfilerStep")
    )
    return {
        "status": "ok",
        "steps": settings["active"],
        "span": SPANS[job.case.task],
        "profiled_step_s": profiled_s / settings["active"],
        "unprofiled_step_s": unprofiled_s,
        "facts": subject.engine.facts(),
    }


def operator_table(recorded: profile, *, steps: int) -> pd.DataFrame:
    """Return one row per operator, times and counts per step, the largest self time first.

    Columns: operator, calls, self_cpu_s, total_cpu_s, self_device_s, total_device_s (seconds),
    flops (as PyTorch counts them for matrix products and convolutions), memory_bytes (allocated
    by the operator itself; negative: freed).
    """
    rows = [
        (
            event.key,
            event.count / steps,
            event.self_cpu_time_total / 1e6 / steps,
            event.cpu_time_total / 1e6 / steps,
            event.self_device_time_total / 1e6 / steps,
            event.device_time_total / 1e6 / steps,
            event.flops / steps,
            event.self_cpu_memory_usage / steps,
        )
        for event in recorded.key_averages()
        if not event.key.startswith("ProfilerStep")
    ]
    table = pd.DataFrame(rows, columns=list(OPERATOR_COLUMNS))
    order = (table["self_cpu_s"] + table["self_device_s"]).sort_values(ascending=False).index
    return table.loc[order]


def _record(subject: Subject, job: Job, settings: dict[str, Any], trace: Path) -> profile:
    """Run the schedule once and write the trace."""
    activities = [ProfilerActivity.CPU]
    if job.case.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(
            wait=settings["wait"], warmup=settings["warmup"], active=settings["active"], repeat=1
        ),
        on_trace_ready=lambda recorded: recorded.export_chrome_trace(str(trace)),
        record_shapes=True,
        profile_memory=True,
        with_stack=settings["with_stack"],
        with_flops=True,
        acc_events=True,
    ) as recorded:
        for _ in range(settings["wait"] + settings["warmup"] + settings["active"]):
            with record_function(SPANS[job.case.task]):
                subject.call()
                synchronize(job.case.device)
            recorded.step()
    return recorded


def _seconds_per_call(subject: Subject, device: str, calls: int) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        subject.call()
    synchronize(device)
    return (time.perf_counter() - start) / calls
