"""Chrome traces of torch.profiler, parsed: what ran when, and of which kind.

The format is Kineto's: complete events (``ph: X``) with a start and a duration in microseconds.
Nothing here imports PyTorch.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    "python_function": "python",
}
"""What an event's category means, in lower case; others (flows, instants) are left out."""

ON_DEVICE = ("kernel", "memcpy", "memset")
WRAPPERS = (
    *("Torch-Compiled Region", "TorchDynamo Cache Lookup", "AOTDispatcher Runtime Wrapper"),
    *("Pregraph bytecode", "CompiledFunction"),
    "autograd::engine::evaluate_function: CompiledFunctionBackward",
)
"""Beginnings of operators that only lead from Python to compiled code; that itself is another."""
SPANS = ("model_train_step", "model_inference", "model_decode_step", "Optimizer.", *WRAPPERS)
"""Beginnings of names whose own time is Python's, not an operator's."""

_COMPILED = re.compile(r"#* ?Call CompiledFxGraph (\S+)")
_TORCHSCRIPT = ("forward", "<forward op>", "<backward op>")
_LOADING = re.compile(r"enumerate\(DataLoader\)|DataLoader.*__next__")
_COMMUNICATION = re.compile(r"nccl|^c10d::|^gloo:", re.IGNORECASE)
STEP = re.compile(r"ProfilerStep#\d+")
ENGINE_THREAD = 1_000_000
"""The thread, beyond those of Linux, of operators that an engine's own profiler told."""
_LONGEST_US = 1e17
"""Microseconds, some thousand years: clocks count from the start of the machine, or from 1970."""


@dataclass(frozen=True)
class Trace:
    """One trace.

    Attributes
    ----------
    events
        One row per event, by start: ``kind`` (python, operator, wrapper, annotation,
        data_loading, runtime, kernel, memcpy, memset, communication), ``name``, ``start`` and
        ``end`` (seconds since the trace's first event), ``thread``, ``device`` (whether it ran on
        the GPU), ``correlation``, ``blocks_per_sm``, ``occupancy`` (0 to 1); NaN where it is not
        told.
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

    @property
    def kernels(self) -> pd.DataFrame:
        """The kernels that ran on a GPU, those of communication included."""
        events = self.of("kernel", "communication")
        return events[events["device"]]

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
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a Chrome trace ({error})") from None


def parse_trace(content: Any) -> Trace:
    """Parse a trace that was read as JSON: a list of events, or an object that holds one.

    Events without a start or a duration, which a profiler that was cut off leaves, are left out.
    Of the rest, what is told about a kernel or an allocation is NaN where it is no number that it
    could be.

    Raises
    ------
    ValueError
        When there is no list of events, or one has a time that is none.
    """
    listed = content.get("traceEvents") if isinstance(content, Mapping) else content
    if not isinstance(listed, list):
        raise ValueError("traceEvents is missing")
    for item in listed:
        if not isinstance(item, Mapping):
            raise ValueError(f"{item!r:.80} among traceEvents is no event")
    given = [event for event in listed if event.get("ts") is not None]
    complete = [event for event in given if event.get("ph") == "X"]
    origin = min((_microseconds(event, "ts") for event in complete), default=0.0)
    rows = [
        _row(event, kind, origin)
        for event in complete
        if event.get("dur") is not None and (kind := KINDS.get(str(event.get("cat")).lower()))
    ]
    columns = [
        *("kind", "name", "start", "end", "thread", "device", "correlation", "blocks_per_sm"),
        "occupancy",
    ]
    events = pd.DataFrame(rows, columns=columns).sort_values("start", kind="stable")
    numbers = ("start", "end", "correlation", "blocks_per_sm", "occupancy")
    events = events.astype({"device": bool, **dict.fromkeys(numbers, float)})
    events = events.reset_index(drop=True)
    return Trace(events=events, steps=_steps(events), memory=_memory(given, origin))


def _row(event: Mapping[str, Any], kind: str, origin: float) -> tuple[Any, ...]:
    name, arguments = str(event.get("name", "")), _arguments(event)
    start = (_microseconds(event, "ts") - origin) / 1e6
    duration = _microseconds(event, "dur")
    if duration < 0:
        raise ValueError(f"the event {name!r:.80} has a dur below 0: {duration}")
    return (
        _kind(kind, name),
        name,
        start,
        start + duration / 1e6,
        f"{event.get('pid')}/{event.get('tid')}",
        kind in ON_DEVICE,
        _number(arguments, "correlation"),
        _number(arguments, "blocks per SM", least=0),
        _number(arguments, "est. achieved occupancy %", least=0, most=100) / 100,
    )


def _arguments(event: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = event.get("args")
    return arguments if isinstance(arguments, Mapping) else {}


def _microseconds(event: Mapping[str, Any], key: str) -> float:
    """Read a time of an event, without which nothing can be said of it."""
    value = _finite(event[key])
    if abs(value) < _LONGEST_US:
        return value
    name = str(event.get("name", ""))
    raise ValueError(f"the event {name!r:.80} has a {key} that is no time: {event[key]!r:.80}")


def _number(
    arguments: Mapping[str, Any], key: str, *, least: float = -math.inf, most: float = math.inf
) -> float:
    """Read a number; NaN where it is missing, not finite, or outside of what it can be."""
    value = _finite(arguments.get(key))
    return value if least <= value <= most else math.nan


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        return math.nan


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
    marked = events[(events["kind"] == "annotation") & events["name"].str.fullmatch(STEP)]
    if marked.empty:
        ran = events[events["kind"] != "python"]  # what runs the steps began long before them
        return union(ran["start"].min(), ran["end"].max()) if len(ran) else union([], [])
    # Not their union: steps that touch would become one.
    steps = marked.drop_duplicates("name")[["start", "end"]].to_numpy(dtype=float)
    return steps[steps[:, 1] > steps[:, 0]]


def _memory(given: list[Mapping[str, Any]], origin: float) -> pd.DataFrame:
    rows = []
    for event in given:
        if event.get("name") != "[memory]":
            continue
        arguments = _arguments(event)
        size, address = _number(arguments, "Bytes"), arguments.get("Addr")
        if math.isnan(size) or not isinstance(address, int | str):
            continue  # an allocation of unknown size says nothing
        rows.append(
            (
                (_microseconds(event, "ts") - origin) / 1e6,
                size,
                address,
                arguments.get("Device Type", 0) != 0,
                _number(arguments, "Total Allocated"),
                _number(arguments, "Total Reserved"),
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
