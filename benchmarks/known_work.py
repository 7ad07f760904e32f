"""A model whose work is known by construction, and modes that add an exact share to it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

TIMES = 100
WIDTH = 192


class Stack(nn.Module):
    """One layer, applied a hundred times: each is one per cent of the work.

    They share their weights, so that one more finds them where the last one did. A hundred layers
    with weights of their own evict each other's: to apply ten of them again took 6 % more time, and
    ten more with new weights 14 %.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, times: int = TIMES) -> torch.Tensor:
        """Apply the layer again and again: shape (batch, 192) → (batch, 192)."""
        layer = self.layer
        for _ in range(times):
            x = torch.relu(layer(x))
        return x


def build() -> Stack:
    """Build the model."""
    return Stack()


def inputs(batch_size: int) -> torch.Tensor:
    """Return standard-normal inputs of shape (batch, 192)."""
    return torch.randn(batch_size, WIDTH)


def apply_more(
    model: Stack, example: tuple[torch.Tensor], *, percent: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the model's forward pass followed by `percent` more applications, discarded."""

    def call(x: torch.Tensor) -> torch.Tensor:
        output = model(x)
        model.forward(x, percent)
        return output

    return call
