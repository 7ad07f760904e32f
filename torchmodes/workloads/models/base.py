"""What every family of models gives: a module, example inputs, and the name of an item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from torchmodes.workloads.structures import Inputs


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
    """

    module: nn.Module
    inputs: Inputs
    item: str
    batch_size: int
    draw: Callable[[int], Inputs]
    logits: bool = False

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
