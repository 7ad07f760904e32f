"""What every family of models gives: a module, example inputs, and the name of an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from torchmodes.workloads.structures import register_dataclasses


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call of a model."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        register_dataclasses((self.args, self.kwargs))

    @classmethod
    def of(cls, value: Any) -> Inputs:
        """Wrap a tensor, a tuple or list (positional) or a mapping (keywords)."""
        if isinstance(value, Inputs):
            return value
        if isinstance(value, Mapping):
            return cls(kwargs=dict(value))
        return cls(args=tuple(value) if isinstance(value, (tuple, list)) else (value,))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """Apply a function to every tensor."""
        return Inputs(*_pytree.tree_map_only(torch.Tensor, function, (self.args, self.kwargs)))

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a function with these arguments."""
        return function(*self.args, **self.kwargs)


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
    """

    module: nn.Module
    inputs: Inputs
    item: str
    batch_size: int
    draw: Callable[[int], Inputs]

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
