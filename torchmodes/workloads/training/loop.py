"""The training loop: tensors stay on the device, batches are taken by index.

A per-sample ``Dataset`` behind a ``DataLoader`` costs several times the step itself and would hide
what the modes differ in; ``benchmarks/training_loop.py`` measures it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F

from torchmodes.workloads.modes.base import Step
from torchmodes.workloads.training.dataset import Tensors
from torchmodes.workloads.training.metrics import Epoch


def batches(
    x: torch.Tensor, y: torch.Tensor, *, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield shuffled full batches; the rest of the rows waits for another epoch (drop_last).

    Raises
    ------
    ValueError
        When there are fewer rows than one batch.
    """
    rows = len(x)
    if rows < batch_size:
        raise ValueError(
            f"training.batch_size: {batch_size} is more than the {rows} rows of the training split"
        )
    order = torch.randperm(rows, generator=generator).to(x.device)
    for index in order[: rows - rows % batch_size].split(batch_size):
        yield x[index], y[index]


def train(
    step: Step,
    evaluate: Callable[[torch.Tensor], torch.Tensor],
    tensors: Tensors,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Epoch]:
    """Train with one optimiser step at a time, yielding after each epoch.

    `evaluate` predicts z-scored targets from z-scored features; `seed` is that of the shuffling.
    The context is entered around the steps of an epoch, not around its validation.
    """
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        with context():
            losses = [
                step(x, y).clone()  # a CUDA graph overwrites its output at the next step
                for x, y in batches(
                    tensors.x_train, tensors.y_train, batch_size=batch_size, generator=generator
                )
            ]
        train_loss = torch.stack(losses).mean().item()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            predicted = evaluate(tensors.x_validation)
            validation_loss = F.mse_loss(predicted, tensors.y_validation).item()
        yield Epoch(epoch, train_loss, validation_loss, seconds)


def fit_error(predicted: torch.Tensor, actual: torch.Tensor) -> tuple[float, float]:
    """Return the root mean squared error of predictions, in the target's unit, and R²."""
    predicted, actual = predicted.double().flatten(), actual.double().flatten()
    residual = (predicted - actual).square().sum()
    spread = (actual - actual.mean()).square().sum()
    return (residual / len(actual)).sqrt().item(), (1 - residual / spread).item()
