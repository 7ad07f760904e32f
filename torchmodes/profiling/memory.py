"""Memory of a profiled case: resident memory by phase, and what the recorded steps allocate."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import psutil

from torchmodes.profiling.chrome import Trace
from torchmodes.profiling.files import MEMORY_COLUMNS
from torchmodes.profiling.intervals import EMPTY, contains

STEPS = "steps"
INTERVAL_S = 0.02
_PASSED_ON = (
    *("autograd::engine::evaluate_function", "torch::jit::", "forward"),
    *("<forward op>", "<backward op>"),
)
"""Beginnings of operators that contain others and hold no memory of their own."""


class ResidentMemory:
    """Samples the resident memory of this process while phases of its work go by."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, int]] = []
        self._origin = time.perf_counter()
        self._process = psutil.Process()

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Sample every `INTERVAL_S` seconds while a phase runs, and at its start and end."""
        done = threading.Event()

        def sample() -> None:
            while not done.wait(INTERVAL_S):
                self._take(name)

        self._take(name)
        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield
        finally:
            done.set()
            sampler.join()
            self._take(name)

    def table(self) -> pd.DataFrame:
        """Return the samples: phase, time_s since the first, rss_bytes."""
        return pd.DataFrame(self._rows, columns=["phase", "time_s", "rss_bytes"])

    def _take(self, phase: str) -> None:
        now = time.perf_counter() - self._origin
        self._rows.append((phase, now, self._process.memory_info().rss))


@dataclass(frozen=True)
class Peak:
    """The moment of a step at which the operators hold the most, in bytes.

    `weights` are parameters and buffers, there all the time; `activations` outlive the operator
    that allocated them (in training, gradients too); the operator that runs at that moment will
    release its `workspace` itself.
    """

    weights: int
    activations: int
    workspace: int


def memory_timeline(resident: pd.DataFrame, trace: Trace) -> pd.DataFrame:
    """Put resident memory by phase and the allocations of the recorded steps into one table.

    The steps' rows have the phase ``steps``, a time since the first step, and the bytes that the
    profiler counts as allocated: on a CPU relative to the start of the recording, on a GPU
    (``reserved_bytes`` too) in all.
    """
    memory, on_gpu = _in_steps(trace)
    start = trace.steps[0, 0] if len(trace.steps) else 0.0
    allocated = pd.DataFrame(
        {
            "phase": STEPS,
            "time_s": memory["time"] - start,
            "allocated_bytes": memory["allocated"],
            "reserved_bytes": memory["reserved"] if on_gpu else np.nan,
        }
    )
    parts = [part for part in (resident, allocated) if len(part)]
    if not parts:
        return pd.DataFrame(columns=list(MEMORY_COLUMNS))
    return pd.concat(parts).reindex(columns=list(MEMORY_COLUMNS))


def peak_by_category(trace: Trace, *, weights: int) -> Peak:
    """Find the peak of what the steps allocate, and what it is made of; `weights` are bytes."""
    memory, _ = _in_steps(trace)
    if memory.empty:
        return Peak(weights, 0, 0)
    released, passing = _lifetimes(memory, _operators(trace))
    known = released >= 0
    held = np.zeros(len(memory))
    temporary = np.zeros(len(memory))
    size = memory["bytes"].to_numpy(dtype=float)
    for total, chosen in ((held, known & ~passing), (temporary, known & passing)):
        np.add.at(total, np.flatnonzero(chosen), size[chosen])
        ends = released[chosen]
        inside = ends < len(memory)  # later ones outlive the recording
        np.add.at(total, ends[inside], -size[chosen][inside])
    held, temporary = np.cumsum(held), np.cumsum(temporary)
    at = int(np.argmax(held + temporary))
    return Peak(weights, activations=round(held[at]), workspace=round(temporary[at]))


def _lifetimes(memory: pd.DataFrame, operators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join each allocation with its release.

    Returns
    -------
    released
        Per row: the row of the release; the number of rows where it outlives the recording; -1
        for rows that are not allocations.
    passing
        Per row: whether an allocation is released within the operator that made it.
    """
    count = len(memory)
    released = np.full(count, -1)
    living: dict[int, int] = {}
    for row, (address, size) in enumerate(
        zip(memory["address"].tolist(), memory["bytes"].tolist(), strict=True)
    ):
        if size > 0:
            living[address] = row
            released[row] = count
        elif address in living:  # else it was there before
            released[living.pop(address)] = row
    times = memory["time"].to_numpy(dtype=float)
    ends = np.append(times, np.inf)[released]
    starts = operators[:, 0] if len(operators) else np.empty(0)
    within = np.searchsorted(starts, times, side="right") - 1
    inside = contains(operators, times)
    limit = operators[np.maximum(within, 0), 1] if len(operators) else np.zeros(count)
    return released, (released >= 0) & inside & (ends < limit)


def _operators(trace: Trace) -> np.ndarray:
    """Return the outermost operators that do work themselves, as a set of spans."""
    operators = trace.of("operator")
    names = operators["name"]
    working = ~names.str.startswith(_PASSED_ON) & ~names.str.contains("CompiledFxGraph")
    spans = operators.loc[working, ["start", "end"]].to_numpy(dtype=float)
    if not len(spans):
        return EMPTY
    # Merging would join neighbours that touch; an operator is never longer than what holds it.
    spans = spans[np.lexsort((-spans[:, 1], spans[:, 0]))]
    furthest = np.maximum.accumulate(spans[:, 1])
    outer = np.concatenate([[True], spans[1:, 0] >= furthest[:-1]])
    return spans[outer]


def _in_steps(trace: Trace) -> tuple[pd.DataFrame, bool]:
    """Return what the steps allocate: on the GPU, where they do so there, and whether they do."""
    memory = trace.memory[contains(trace.steps, trace.memory["time"])]
    on_gpu = bool(memory["device"].any())
    return memory[memory["device"] == on_gpu].reset_index(drop=True), on_gpu
