"""What every family of models gives: a module, example inputs, and the name of an item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from torchmodes.workloads.structures import Inputs

Align = Callable[[Any, Any], tuple[Any, Any]]
"""What brings two outputs of a model, expected and actual, into one order and size."""


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
        Makes inputs like these from a seed, on the host.
    logits
        Whether its first output are logits, over classes or tokens in the last dimension.
    align
        How outputs are compared whose parts have no fixed number or order; None: tensor by tensor.
    caveat
        What an output that is right leaves open.
    """

    module: nn.Module
    inputs: Inputs
    item: str
    batch_size: int
    draw: Callable[[int], Inputs]
    logits: bool = False
    align: Align | None = None
    caveat: str | None = None

    def to(self, device: torch.device | str) -> BuiltModel:
        """Put module and inputs on a device."""
        return replace(
            self, module=self.module.to(device), inputs=self.inputs.map(lambda t: t.to(device))
        )

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return sum(t.numel() * t.element_size() for t in tensors)
