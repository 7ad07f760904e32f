"""A model whose work is known by construction, and modes that add an exact share to it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

LAYERS = 100
WIDTH = 192


class Stack(nn.Module):
    """A hundred layers of the same size: each is one per cent of the work."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply every layer: shape (batch, 192) → (batch, 192)."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


def build() -> Stack:
    """Build the model."""
    return Stack()


def inputs(batch_size: int) -> torch.Tensor:
    """Return standard-normal inputs of shape (batch, 192)."""
    return torch.randn(batch_size, WIDTH)


def add_layers(
    model: Stack, example: tuple[torch.Tensor], *, percent: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the model's forward pass followed by `percent` more layers, whose output is discarded.

    They are copies, with weights of their own: a layer that runs twice finds its weights in a cache
    the second time, or leaves them there for the next call.
    """
    further = copy.deepcopy(list(model.layers[:percent]))

    def call(x: torch.Tensor) -> torch.Tensor:
        output = model(x)
        again = x
        for layer in further:
            again = torch.relu(layer(again))
        return output

    return call
