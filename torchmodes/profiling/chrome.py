"""Chrome traces of torch.profiler, parsed: what ran when, and of which kind.

The format is Kineto's: complete events (``ph: X``) with a start and a duration in microseconds.
Nothing here imports PyTorch.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from torchmodes.profiling.intervals import Spans, contains, union

KINDS = {
    "kernel": "kernel",
    "gpu_memcpy": "memcpy",
    "memcpy": "memcpy",
    "gpu_memset": "memset",
    "memset": "memset",
    "cuda_runtime": "runtime",
    "cuda_driver": "runtime",
    "runtime": "runtime",
    "driver": "runtime",
    "cpu_op": "operator",
    "operator": "operator",
    "user_annotation": "annotation",
}
"""What an event's category means, in lower case; others (Python frames, flows) are left out."""

ON_DEVICE = ("kernel", "memcpy", "memset")
WRAPPERS = (
    *("Torch-Compiled Region", "TorchDynamo Cache Lookup", "AOTDispatcher Runtime Wrapper"),
    *("Pregraph bytecode", "CompiledFunction"),
    "autograd::engine::evaluate_function: CompiledFunctionBackward",
)
"""Beginnings of operators that only lead from Python to compiled code; that itself is another."""
SPANS = ("model_train_step", "model_inference", "Optimizer.", *WRAPPERS)
"""Beginnings of names whose own time is Python's, not an operator's."""

_COMPILED = re.compile(r"#* ?Call CompiledFxGraph (\S+)")
_TORCHSCRIPT = ("forward", "<forward op>", "<backward op>")
_LOADING = re.compile(r"enumerate\(DataLoader\)|DataLoader.*__next__")
_COMMUNICATION = re.compile(r"nccl|^c10d::|^gloo:", re.IGNORECASE)
_STEP = re.compile(r"ProfilerStep#\d+")


@dataclass(frozen=True)
class Trace:
    """One trace.

    Attributes
    ----------
    events
        One row per event, by start: ``kind`` (operator, wrapper, annotation, data_loading,
        runtime, kernel, memcpy, memset, communication), ``name``, ``start`` and ``end`` (seconds
        since the trace's first event), ``thread``, ``device`` (whether it ran on the GPU),
        ``correlation``, ``blocks_per_sm``, ``occupancy`` (0 to 1); NaN where it is not told.
    steps
        The profiled steps, shape (n, 2), seconds; all of the trace where it has no step.
    memory
        One row per allocation or release, by time: ``time`` (seconds), ``bytes`` (negative:
        released), ``address``, ``device`` (whether on the GPU), ``allocated`` and ``reserved``
        (bytes in all, as the profiler counts them).
    """

    events: pd.DataFrame
    steps: Spans
    memory: pd.DataFrame

    @property
    def has_device(self) -> bool:
        """Whether anything ran on a GPU."""
        return bool(self.events["device"].any())

    def of(self, *kinds: str) -> pd.DataFrame:
        """Return the events of some kinds."""
        return self.events[self.events["kind"].isin(kinds)]

    def in_steps(self, events: pd.DataFrame) -> pd.DataFrame:
        """Return those events that start within a step."""
        return events[contains(self.steps, events["start"])]


def read_trace(path: Path) -> Trace:
    """Read a trace, gzipped or not.

    Raises
    ------
    ValueError
        When the file is not a Chrome trace; the message names it.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as file:
            return parse_trace(json.load(file))
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: not a Chrome trace ({error})") from None


def parse_trace(content: Mapping[str, Any]) -> Trace:
    """Parse a trace that was read as JSON.

    Events without a start or a duration, which a profiler that was cut off leaves, are left out.
    """
    if not isinstance(content.get("traceEvents"), list):
        raise ValueError("traceEvents is missing")
    given = [event for event in content["traceEvents"] if "ts" in event]
    origin = min((event["ts"] for event in given if event.get("ph") == "X"), default=0.0)
    rows = [
        _row(event, kind, origin)
        for event in given
        if event.get("ph") == "X"
        and "dur" in event
        and (kind := KINDS.get(str(event.get("cat")).lower()))
    ]
    columns = [
        *("kind", "name", "start", "end", "thread", "device", "correlation", "blocks_per_sm"),
        "occupancy",
    ]
    events = pd.DataFrame(rows, columns=columns).sort_values("start", kind="stable")
    events = events.astype({"start": float, "end": float, "device": bool})
    events = events.reset_index(drop=True)
    return Trace(events=events, steps=_steps(events), memory=_memory(given, origin))


def _row(event: Mapping[str, Any], kind: str, origin: float) -> tuple[Any, ...]:
    name, told = event.get("name", ""), event.get("args") or {}
    occupancy = told.get("est. achieved occupancy %")
    start = (event["ts"] - origin) / 1e6
    return (
        _kind(kind, name),
        name,
        start,
        start + event["dur"] / 1e6,
        f"{event.get('pid')}/{event.get('tid')}",
        kind in ON_DEVICE,
        told.get("correlation", np.nan),
        told.get("blocks per SM", np.nan),
        np.nan if occupancy is None else occupancy / 100,
    )


def _kind(kind: str, name: str) -> str:
    if kind in ("kernel", "operator") and _COMMUNICATION.search(name):
        return "communication"
    if kind in ("operator", "annotation") and _LOADING.search(name):
        return "data_loading"
    if kind == "operator" and name.startswith(WRAPPERS):
        return "wrapper"
    if kind == "annotation" and _COMPILED.search(name):
        return "operator"  # all that shows of the compiled kernels on a CPU
    return kind


def _steps(events: pd.DataFrame) -> Spans:
    marked = events[(events["kind"] == "annotation") & events["name"].str.fullmatch(_STEP)]
    if marked.empty:
        return union(events["start"].min(), events["end"].max()) if len(events) else union([], [])
    # Not their union: steps that touch would become one.
    steps = marked.drop_duplicates("name")[["start", "end"]].to_numpy(dtype=float)
    return steps[steps[:, 1] > steps[:, 0]]


def _memory(given: list[Mapping[str, Any]], origin: float) -> pd.DataFrame:
    rows = []
    for event in given:
        if event.get("name") != "[memory]":
            continue
        told = event["args"]
        rows.append(
            (
                (event["ts"] - origin) / 1e6,
                told["Bytes"],
                told["Addr"],
                told.get("Device Type", 0) != 0,
                told.get("Total Allocated", np.nan),
                told.get("Total Reserved", np.nan),
            )
        )
    columns = ["time", "bytes", "address", "device", "allocated", "reserved"]
    return pd.DataFrame(rows, columns=columns).sort_values("time", kind="stable", ignore_index=True)


def short_name(name: str) -> str:
    """Name an operator for people, the same in every run.

    Compiled graphs lose their hash. What TorchScript runs without an operator that shows (oneDNN's
    convolutions with what it fused into them) is the own time of its ``forward``.
    """
    if _COMPILED.search(name):
        return "CompiledFxGraph"
    return f"TorchScript {name.strip('<>')}" if name in _TORCHSCRIPT else name
