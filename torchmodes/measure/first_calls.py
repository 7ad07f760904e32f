"""The first calls of one side: what they cost, what they return, what they leave behind."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from torchmodes.measure.input_sets import InputSets, feed
from torchmodes.measure.model_state import state_of
from torchmodes.measure.schedules import compiled_graphs
from torchmodes.planning.job import Job
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.batches import largest
from torchmodes.workloads.models import import_libraries
from torchmodes.workloads.modes.base import ONE_SHAPE, Refused
from torchmodes.workloads.structures import copy_output, kinds_of, tensors_of
from torchmodes.workloads.workload import Workload, random_state, synchronize, workload_of

CALLS_COMPARED = 3
"""Calls of a forward pass, of which the last one's output is compared.

A CUDA graph is recorded at the second call and first replayed at the third, and TorchScript
optimises its graph at the second.
"""
LOSSES_COMPARED = 20
"""Optimiser steps whose losses must agree, from the same weights on the same batches."""
LEAST_LOSSES = 4
LOSSES_S = 10.0
"""Of long steps fewer are compared: what fits into these seconds, or `LEAST_LOSSES`."""


@dataclass(frozen=True)
class WarmedUp:
    """A workload after its first calls.

    `output` is of the last of `CALLS_COMPARED` forward passes on the example inputs, or the losses
    of the first `LOSSES_COMPARED` optimiser steps; `kinds` are the classes of what it held before
    it was copied; `first_call_s`, of a schedule, of the first calls on all of its batches; `sets`
    are inputs to go on with, None of a training step. What changes in the module at every call is
    `kept`, and `growth` says how it grows. `changes_inputs`: a call writes into its inputs;
    `recompiles`: what TorchDynamo compiled again for other batches than the first; `random`: a
    training step draws random numbers, as dropout does.
    """

    workload: Workload
    output: Any
    first_call_s: float
    sets: InputSets | None = None
    kept: tuple[str, ...] = ()
    growth: str | None = None
    changes_inputs: bool = False
    kinds: frozenset[type] = frozenset()
    recompiles: int = 0
    random: bool = False

    @property
    def cold_s(self) -> float:
        """Seconds from a built model to its first output."""
        return self.workload.prepare_s + self.first_call_s

    @property
    def steps(self) -> int | None:
        """How many losses of a training are compared; None of a forward pass."""
        return len(self.output) if self.sets is None else None


def start_libraries(job: Job) -> None:
    """Let libraries load and threads start, for which the side that runs first would pay alone."""
    import_libraries(job.model["family"])
    device = job.case.device
    image = torch.ones(1, 3, 64, 64, device=device)
    torch.nn.functional.conv2d(image, image[:, :, :3, :3]) @ torch.ones(62, 62, device=device)
    torch.ones(256, 256, device=device) @ torch.ones(256, 256, device=device)
    synchronize(device)


def first_call(workload: Workload, job: Job, number: int = 0) -> tuple[Any, float]:
    """Return a workload's output for a batch of that number, and the seconds that it took.

    Raises
    ------
    Refused
        When its mode fails on a batch of another shape than it was prepared with.
    """
    synchronize(job.case.device)
    start = time.perf_counter()
    with _refusing_other_shapes(workload, job, number):
        output = workload.call()
        synchronize(job.case.device)
    return output, time.perf_counter() - start


def first_pass(workload: Workload, job: Job) -> float:
    """Call a workload on the other batches of its schedule; return the seconds. Raises likewise."""
    seconds = 0.0
    for number in range(1, len(workload.batches)):
        workload.take(number)
        with workload.context():
            seconds += first_call(workload, job, number)[1]
    workload.take(0)
    return seconds


@contextmanager
def _refusing_other_shapes(workload: Workload, job: Job, number: int) -> Generator[None]:
    """Refuse a case whose mode fails on a batch of another shape than it was prepared with."""
    prepared, given = (
        tuple(batch.tensors()[0].shape) if batch.tensors() else ()
        for batch in (largest(workload.batches), workload.batches[number])
    )
    try:
        yield
    except Exception as error:
        of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if prepared == given or job.case.is_baseline or of_memory:
            raise
        traceback.print_exc()  # into the case's log
        told = f"it was prepared with a batch of the shape {prepared} and fails on one of {given}"
        raise Refused(f"{told}: {reason_of(error)}", ONE_SHAPE) from error


def warmed_up(job: Job, *, watched: bool = False, steps: int | None = None) -> WarmedUp:
    """Build a workload and run its first calls, each on the example inputs as they were drawn.

    With `watched` it looks at what a call changes in the module and its inputs. `steps` are those
    of a training; None: as many as there is time for.
    """
    workload = workload_of(job)
    if job.case.task == "training":
        return _first_losses(workload, job, steps)
    sets = InputSets(workload.built, seed=job.seed)
    module, taken = workload.built.module, workload.inputs.tensors()
    states, written = [], False
    with workload.context():
        output, first_call_s = first_call(workload, job)
    _refuse_output(output)
    for _ in range(CALLS_COMPARED - 1):
        del output  # a CUDA graph may not be recorded while one of its outputs lives
        feed(workload, sets, 0)
        if watched:
            states.append(state_of(module))
        versions = [tensor._version for tensor in taken]
        with workload.context():
            output = workload.call()
        written = versions != [tensor._version for tensor in taken]
    copied = workload.built.judged(copy_output(output), sets[0])
    kinds = kinds_of(output)  # copying taught PyTorch its dataclasses
    del output
    if watched:
        states.append(state_of(module))
    compiled = compiled_graphs()
    first_call_s += first_pass(workload, job)
    recompiles = compiled_graphs() - compiled
    warm = WarmedUp(
        workload,
        copied,
        first_call_s,
        sets,
        recompiles=recompiles,
        changes_inputs=written,
        kinds=kinds,
    )
    if not watched:
        return warm
    first, before, after = states
    return replace(
        warm,
        kept=tuple(before.changes(after)),
        growth=first.growth(before) and before.growth(after),
    )


def _refuse_output(output: Any) -> None:
    """Refuse what cannot be compared, or is not computed yet, before anything else runs."""
    if any(tensor.is_nested for tensor in tensors_of(output)):
        raise Refused(
            "the model returns a nested tensor, whose parts have no shape in common",
            "return a padded tensor from forward (torch.nested.to_padded_tensor)",
        )
    lazy = sorted(kind.__name__ for kind in kinds_of(output) if issubclass(kind, Iterator))
    if lazy:
        raise Refused(
            f"a call returns a {lazy[0]}, which computes only when it is read: its"
            " computing would not be timed",
            "return a tuple or a list of tensors from forward",
        )


def _first_losses(workload: Workload, job: Job, steps: int | None) -> WarmedUp:
    state = random_state(job.case.device)
    with workload.context():
        output, first_call_s = first_call(workload, job)
        losses = [float(output)]
        began = time.monotonic()
        while len(losses) < (steps or LOSSES_COMPARED):
            enough = steps is None and len(losses) >= LEAST_LOSSES
            if enough and time.monotonic() - began > LOSSES_S:
                break
            losses += losses_of(workload, 1)
    drew = not torch.equal(state, random_state(job.case.device))
    return WarmedUp(workload, losses, first_call_s, random=drew)


def losses_of(workload: Workload, steps: int) -> list[float]:
    """Take optimiser steps and read each loss before the next step, which may overwrite it."""
    return [float(workload.call()) for _ in range(steps)]


@contextmanager
def tracer_warnings() -> Generator[list[str]]:
    """Keep what tracing warns of, each place once, and let it be shown as ever.

    Yielded is a list of the first sentence of each warning, with its place.
    """
    places: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("default", torch.jit.TracerWarning)
        show = warnings.showwarning

        def keep(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any
        ) -> None:
            if issubclass(category, torch.jit.TracerWarning):
                sentence = str(message).partition(". ")[0]
                place = f"{sentence} ({Path(filename).name}, line {lineno})"
                if place not in places:
                    places.append(place)
            show(message, category, filename, lineno, *more)

        warnings.showwarning = keep  # ty: ignore[invalid-assignment]
        yield places
