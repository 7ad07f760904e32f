"""A schedule: batches of inputs, of different sizes, that calls take in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils import _pytree

from torchmodes.workloads.structures import Inputs


@dataclass(frozen=True)
class BatchSchedule:
    """Batches in the order in which they arrive; one call takes one of them.

    Attributes
    ----------
    batches
        Alike but for the sizes of their tensors.
    tokens
        In each batch those that are no padding; None where nobody knows.
    padding
        How they were padded.
    left_out
        Texts that are in no batch: a last, smaller one is dropped.
    truncated
        Texts that were cut.
    """

    batches: tuple[Inputs, ...]
    tokens: tuple[int, ...] | None = None
    padding: str | None = None
    left_out: int = 0
    truncated: int = 0

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> BatchSchedule:
        """Apply a function to every tensor."""
        return replace(self, batches=tuple(batch.map(function) for batch in self.batches))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each batch, by its first tensor."""
        return [tuple(batch.tensors()[0].shape) for batch in self.batches]


def largest(batches: Sequence[Inputs]) -> Inputs:
    """Return the batch with most elements: engines prepare with it.

    torch.export takes a size of 1 for a constant, which the largest has least often.
    """
    return max(batches, key=lambda batch: sum(tensor.numel() for tensor in batch.tensors()))


def vary(batches: Sequence[Inputs]) -> bool:
    """Tell whether any tensor has another shape in another batch."""
    return len({tuple(tensor.shape for tensor in batch.tensors()) for batch in batches}) > 1


def difference(one: Inputs, other: Inputs) -> str | None:
    """Say what sets two batches apart beside the sizes of their tensors, or return None."""
    leaves, structure = _pytree.tree_flatten((one.args, one.kwargs))
    others, other_structure = _pytree.tree_flatten((other.args, other.kwargs))
    if structure != other_structure:
        return "their arguments or the containers in them"
    for first, second in zip(leaves, others, strict=True):
        if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
            if (first.dim(), first.dtype) != (second.dim(), second.dtype):
                return "the dimensions or the type of a tensor"
        elif type(first) is not type(second) or first != second:
            return "an argument that is no tensor"
    return None
