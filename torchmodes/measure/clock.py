"""Clocks: how long calls take, by host time and, on an accelerator, by its own events too.

Every engine is timed alike, ONNX Runtime and TensorRT included. An accelerator is synchronised
before the first stamp and after every call, so that a sample holds whole calls, and grouping calls
into one sample does not change what is measured. Host time is the one that counts: engines that
work on streams of their own are invisible to events on PyTorch's current stream. Recording events
takes some microseconds of the host, so they are recorded only where they are asked for.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat
from types import ModuleType
from typing import Any, Literal, Protocol

import torch

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """One sample, in seconds per call.

    `host_s` is from before the (first) call until its work is done. `device_s` is by events around
    each call on the current stream, None where none were recorded; on an idle stream it includes
    the gaps in which the device waits for the host to launch. Whoever keeps the output, of the last
    call, keeps its memory.
    """

    host_s: float
    device_s: float | None
    output: object = None


class Clock(Protocol):
    """What times calls: by a name for the record, with the finest time that it can tell apart.

    `groupable`: whether one sample may hold several calls. `events`: whether the device has events
    to be recorded around a call.
    """

    name: str
    timer_s: float
    groupable: bool
    events: bool

    def time(self, call: Call, calls: int, *, events: bool = False) -> Timing:
        """Time `calls` calls; the last output stays alive until the clock has stopped.

        With `events` the device's, where it has any, are recorded, as a part of the host's time.
        """
        ...


class CpuClock:
    """Host time of calls that run on the CPU."""

    name = "perf_counter"
    groupable = True
    events = False

    def __init__(self) -> None:
        self.timer_s = timer_resolution_s()

    def time(self, call: Call, calls: int, *, events: bool = False) -> Timing:
        """Time `calls` calls; see `Clock`."""
        output = None
        began = time.perf_counter_ns()
        for _ in repeat(None, calls):
            output = call()
        ended = time.perf_counter_ns()
        return Timing((ended - began) * 1e-9 / calls, device_s=None, output=output)


class AcceleratorClock:
    """Synchronised host time, and the device's events on the current stream.

    The backend is `torch.cuda` or `torch.mps`: what has `Event` and `synchronize`. A tensor larger
    than the L2 cache that is overwritten before each sample, outside the timed region, lets each
    call find it cold (as nvbench's cold measurements do).
    """

    events = True

    def __init__(
        self, backend: ModuleType, *, name: str, flushed: torch.Tensor | None = None
    ) -> None:
        self.name = name
        self.groupable = flushed is None  # only the first call of a group would find it cold
        self.timer_s = timer_resolution_s()
        self._backend = backend
        self._flushed = flushed
        self._events: list[tuple[Any, Any]] = []

    def time(self, call: Call, calls: int, *, events: bool = False) -> Timing:
        """Time `calls` calls; see `Clock`."""
        pairs = self._pairs(calls) if events else []
        if self._flushed is not None:
            self._flushed.zero_()
        synchronize = self._backend.synchronize
        synchronize()
        output = None
        began = time.perf_counter_ns()
        if events:
            for start, end in pairs:
                start.record()
                output = call()
                end.record()
                synchronize()
        else:
            for _ in repeat(None, calls):
                output = call()
                synchronize()
        ended = time.perf_counter_ns()
        device_ms = sum(start.elapsed_time(end) for start, end in pairs)
        return Timing(
            host_s=(ended - began) * 1e-9 / calls,
            device_s=device_ms * 1e-3 / calls if events else None,
            output=output,
        )

    def _pairs(self, calls: int) -> list[tuple[Any, Any]]:
        """Return the events that stand before and after each call, kept for the next time."""
        event = self._backend.Event
        while len(self._events) < calls:
            self._events.append((event(enable_timing=True), event(enable_timing=True)))
        return self._events[:calls]


def make_clock(device: Literal["cpu", "cuda", "mps"], *, flush_l2: bool = False) -> Clock:
    """Return the clock for a device; of a CUDA device, its L2 cache may be flushed."""
    if device == "cpu":
        return CpuClock()
    if device == "mps":
        return AcceleratorClock(torch.mps, name="perf_counter, synchronised, and MPS events")
    name = "perf_counter, synchronised, and CUDA events"
    if not flush_l2:
        return AcceleratorClock(torch.cuda, name=name)
    return AcceleratorClock(torch.cuda, name=f"{name}, L2 flushed", flushed=_twice_the_l2_cache())


def _twice_the_l2_cache() -> torch.Tensor:
    size = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    return torch.empty(2 * size, dtype=torch.uint8, device="cuda")


def timer_resolution_s(readings: int = 2000) -> float:
    """Measure the finest time that two readings of the host's timer tell apart.

    The larger of the smallest step between two different readings and of the typical time that a
    reading takes: below either, a duration is the timer's own.
    """
    stamps = [time.perf_counter_ns() for _ in range(readings)]
    steps = [later - earlier for earlier, later in pairwise(stamps)]
    smallest = min((step for step in steps if step > 0), default=1)
    return max(smallest, statistics.median(steps)) * 1e-9


def empty_sample_s(clock: Clock, samples: int = 100) -> float:
    """Measure what the clock reports for a call that does nothing: its own share of a sample.

    It is not subtracted. On a CPU it is some hundred nanoseconds; on an accelerator it is mostly
    the synchronisation that any user waiting for a result pays.
    """
    return statistics.median(clock.time(lambda: None, 1).host_s for _ in range(samples))


@contextmanager
def collector_paused() -> Generator[Call]:
    """Keep Python's garbage collector out of the samples, and restore it afterwards.

    What it yields collects what has piled up since, between samples and never within one. What is
    alive before is of the oldest generation, which it leaves alone: it takes microseconds.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield partial(gc.collect, 1)
    finally:
        if enabled:
            gc.enable()
