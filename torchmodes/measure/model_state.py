"""State that a model keeps between its calls, and whether it grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

_LARGEST_SUM = 2**22
"""Elements of a tensor that is no parameter, up to which its values are looked at."""
_HELD = (torch.Tensor, int, float, complex, str)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class State:
    """What a module holds between its calls, by name: parameters, buffers, and its attributes."""

    values: Mapping[str, tuple[Any, ...]]

    def changes(self, later: State) -> list[str]:
        """Name what differs later."""
        names = {**self.values, **later.values}
        return [name for name in names if self.values.get(name) != later.values.get(name)]

    def growth(self, later: State) -> str | None:
        """Say what holds more later than before, or return None."""
        for name in self.changes(later):
            before, after = _size(self.values.get(name)), _size(later.values.get(name))
            if after > before:
                return f"{name} grows from {before:,} to {after:,} values in one call"
        return None


def state_of(module: nn.Module) -> State:
    """Look at what a module holds, in a way that shows a change without a copy of it.

    A tensor is told by its shape, where it lies and how often it was written in place; those that
    are no parameters also by their sum. Of other attributes, numbers and texts count, in lists and
    dictionaries as well.
    """
    values: dict[str, tuple[Any, ...]] = {}
    for prefix, part in module.named_modules():
        place = f"{prefix}." if prefix else ""
        for name, tensor in part.named_parameters(recurse=False):
            values[place + name] = _look(tensor, summed=False)
        for name, tensor in part.named_buffers(recurse=False):
            values[place + name] = _look(tensor, summed=True)
        for name, value in vars(part).items():
            if name in _OF_EVERY_MODULE:
                continue
            leaves = [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, _HELD)]
            if leaves:
                values[place + name] = tuple(
                    _look(leaf, summed=True) if isinstance(leaf, torch.Tensor) else leaf
                    for leaf in leaves
                )
    return State(values)


def _look(tensor: torch.Tensor, *, summed: bool) -> tuple[Any, ...]:
    plain = tensor.layout == torch.strided and not tensor.is_quantized
    summed = summed and plain and 0 < tensor.numel() <= _LARGEST_SUM
    return (
        "tensor",
        tuple(tensor.shape),
        tensor.data_ptr() if plain else None,
        None if tensor.is_inference() else tensor._version,
        str(tensor.detach().to(torch.complex128).sum().item()) if summed else None,
    )


def _size(held: tuple[Any, ...] | None) -> int:
    """Count the numbers in what one attribute holds."""
    if held is None:
        return 0
    if held[:1] == ("tensor",):
        return torch.Size(held[1]).numel()
    return sum(_size(one) if isinstance(one, tuple) else 1 for one in held)
