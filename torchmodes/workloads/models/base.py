"""What every family of models gives: a module, example inputs, and the name of an item."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from torchmodes.workloads.batches import BatchSchedule
from torchmodes.workloads.structures import Inputs

Align = Callable[[Any, Any], tuple[Any, Any]]
"""What brings two outputs of a model, expected and actual, into one order and size."""


def whole_output(output: Any, inputs: Inputs) -> Any:
    """Return an output as it is: all of it counts."""
    return output


def seed_all(seed: int) -> None:
    """Seed all generators that a user's code may draw from without one of its own."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it takes no larger one


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed whatever a model's code draws from, and let it go on as before afterwards.

    In the same working folder, too, from which the paths of all files count.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what it draws from
    with torch.random.fork_rng(devices=[]), chdir(Path.cwd()):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def in_memory_of_its_own(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose elements do not share memory, as those of an expanded one do."""
    if tensor.layout is torch.strided and 0 in tensor.stride() and tensor.numel() > 1:
        return tensor.contiguous()
    return tensor


def _placing(device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what puts tensors on a device; one that is given twice becomes two.

    A graph that is captured with one would hold the two to be equal for ever. One that was made in
    inference mode could not be written into outside of it.
    """
    seen: set[int] = set()

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        moved = in_memory_of_its_own(tensor.to(device))
        moved = moved.clone() if id(moved) in seen or moved.is_inference() else moved
        seen.add(id(moved))
        return moved

    return placed


def in_mode(module: nn.Module, *, training: bool) -> nn.Module:
    """Put a module into training or evaluation mode; a `train` of the user's may return nothing.

    Raises
    ------
    ValueError
        When it is to train, and is an exported program.
    """
    try:
        module.train(training)
    except NotImplementedError as error:
        # The module of an exported program has one mode: that in which it was exported.
        if not isinstance(module, fx.GraphModule):
            raise
        if training:
            raise ValueError(
                "the model is an exported program, which cannot change into training mode; bring"
                " the module that it was exported from"
            ) from error
    return module


@dataclass(frozen=True)
class BuiltModel:
    """A module ready to run, with inputs of one batch.

    Attributes
    ----------
    module, inputs
        What runs, and what it is called with.
    item
        What one of a batch is called.
    batch_size
        Items in the inputs.
    draw
        Makes inputs like these from a seed, on the host; the same for random weights as for
        pretrained ones, by a generator of its own.
    logits
        Whether its first output are logits, over classes or tokens in the last dimension.
    align
        How outputs are compared whose parts have no fixed number or order; None: tensor by tensor.
    caveat
        What an output that is right leaves open.
    schedule
        Batches that calls take in turn, the first of which are the `inputs`; None: always those.
    judged
        Returns what counts of an output on the host, given the inputs: not what padding gave.
    """

    module: nn.Module
    inputs: Inputs
    item: str
    batch_size: int
    draw: Callable[[int], Inputs]
    logits: bool = False
    align: Align | None = None
    caveat: str | None = None
    schedule: BatchSchedule | None = None
    judged: Callable[[Any, Inputs], Any] = whole_output

    def to(self, device: torch.device | str) -> BuiltModel:
        """Put module and inputs on a device; other inputs can be copied into these tensors."""
        return replace(
            self,
            module=self.module.to(device),
            inputs=self.inputs.map(_placing(device)),
            schedule=self.schedule and self.schedule.map(_placing(device)),
        )

    @property
    def batches(self) -> tuple[Inputs, ...]:
        """What calls take in turn."""
        return (self.inputs,) if self.schedule is None else self.schedule.batches

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return sum(t.numel() * t.element_size() for t in tensors)
