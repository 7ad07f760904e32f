"""Small Chrome traces, made by hand: times in microseconds, so that sums are easily done."""

from __future__ import annotations

from typing import Any

from torchmodes.profiling.chrome import Trace, parse_trace

Event = dict[str, Any]


def event(category: str, name: str, start: float, end: float, **told: Any) -> Event:
    """Return a complete event; `told` are its arguments."""
    args = {key.replace("_", " "): value for key, value in told.items()}
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": end - start, "args": args}


def step(number: int, start: float, end: float) -> Event:
    """Return the span of a profiled step."""
    return event("user_annotation", f"ProfilerStep#{number}", start, end)


def operator(name: str, start: float, end: float) -> Event:
    """Return an operator on the CPU."""
    return event("cpu_op", name, start, end)


def launch(start: float, end: float, correlation: int, name: str = "cudaLaunchKernel") -> Event:
    """Return a call of CUDA's runtime."""
    return event("cuda_runtime", name, start, end, correlation=correlation)


def kernel(
    name: str,
    start: float,
    end: float,
    *,
    correlation: int | None = None,
    blocks: float | None = None,
    occupancy: float | None = None,
) -> Event:
    """Return a kernel; what is None is missing in the trace."""
    told = {
        "correlation": correlation,
        "blocks per SM": blocks,
        "est. achieved occupancy %": occupancy,
    }
    made = event("kernel", name, start, end)
    return made | {"args": {key: value for key, value in told.items() if value is not None}}


def trace_of(*events: Event) -> Trace:
    """Parse events as a trace."""
    return parse_trace({"traceEvents": list(events)})
