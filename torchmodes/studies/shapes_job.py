"""The process of the study of dynamic shapes: calls with changing batch sizes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils import _pytree

from torchmodes.planning.job import Job
from torchmodes.workloads.structures import tensors_of
from torchmodes.workloads.training.dataset import load_tensors
from torchmodes.workloads.workload import (
    Context,
    Workload,
    inference_workload,
    synchronize,
    training_workload,
)

EPOCHS = 2


def change_shapes(job: Job, *, mark: bool, drop_last: bool | None) -> dict[str, Any]:
    """Call a case with changing batch sizes and time every call.

    With `mark`, the batch is marked as dynamic; `drop_last` is of training.
    """
    if job.case.task == "training":
        workload, calls = _training(job, drop_last=drop_last)
    else:
        workload, calls = _inference(job)
    timed = list(_timed(calls, workload.context, device=job.case.device, mark=mark))
    seconds = [call["seconds"] for call in timed]
    engine_stats = workload.engine.stats()
    return {
        "status": "ok",
        "calls": timed,
        "graphs": engine_stats["graphs"],
        "recompiles": engine_stats["recompiles"],
        "usual_s": statistics.median(seconds[len(seconds) // 2 :]),
        "spike_s": max(seconds[1:], default=None),
    }


Bound = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def _inference(job: Job) -> tuple[Workload, Iterator[Bound]]:
    """Call with 1, 2, 3 … items up to the case's batch, then with the same sizes again."""
    workload = inference_workload(job)
    inputs = (workload.inputs.args, workload.inputs.kwargs)

    def calls() -> Iterator[Bound]:
        for size in [*range(1, job.case.batch_size + 1)] * 2:
            yield workload.function, *first_items(inputs, size, job.case.batch_size)

    return workload, calls()


def _training(job: Job, *, drop_last: bool | None) -> tuple[Workload, Iterator[Bound]]:
    """Step through the training split in order, its last and smaller batch kept or dropped."""
    tensors = load_tensors(*job.table, device=job.case.device)
    size, rows = job.case.batch_size, len(tensors.x_train)
    starts = range(0, rows - size + 1 if drop_last else rows, size)
    workload = training_workload(job, [(tensors.x_train[:size], tensors.y_train[:size])])

    def calls() -> Iterator[Bound]:
        for start in [*starts] * EPOCHS:
            batch = slice(start, start + size)
            # Copies: a view would bring its base and offset into the guards.
            given = (tensors.x_train[batch].clone(), tensors.y_train[batch].clone())
            yield workload.function, given, {}

    return workload, calls()


def first_items(inputs: Any, size: int, batch_size: int) -> Any:
    """Return inputs with the first `size` items of every tensor that holds a batch."""
    return _pytree.tree_map_only(
        torch.Tensor,
        lambda t: t[:size].clone() if t.ndim and len(t) == batch_size else t,
        inputs,
    )


def _timed(
    calls: Iterable[Bound], context: Context, *, device: str, mark: bool
) -> Iterator[dict[str, Any]]:
    for function, args, kwargs in calls:
        tensors = [tensor for tensor in tensors_of((args, kwargs)) if tensor.ndim]
        size = len(tensors[0])
        if mark and size > 1:  # PyTorch treats a batch of one apart and refuses the mark
            for tensor in tensors:
                torch._dynamo.mark_dynamic(tensor, 0)
        with context():
            synchronize(device)
            start = time.perf_counter()
            function(*args, **kwargs)
            synchronize(device)
            seconds = time.perf_counter() - start
        yield {"batch_size": size, "seconds": seconds}
