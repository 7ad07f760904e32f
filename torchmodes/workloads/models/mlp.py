"""The house-price model: a multi-layer perceptron on the table's z-scored features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from torchmodes.workloads.models.base import BuiltModel, seeded
from torchmodes.workloads.structures import Inputs


class HousePriceMLP(nn.Module):
    """Linear layers with ReLU between them, one output: shape (batch, features) → (batch, 1)."""

    def __init__(self, features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = features
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU()]
            width = units
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict the z-scored target."""
        return self.layers(x)


def build(spec: dict[str, Any], *, seed: int, batch_size: int, features: int | None) -> BuiltModel:
    """Build the model with weights and standard-normal inputs drawn from the seed."""
    if features is None:
        raise ValueError("family mlp needs the number of features")

    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return Inputs.of(torch.randn(batch_size, features, generator=generator))

    with seeded(seed):
        module = HousePriceMLP(features, spec["hidden"]).eval()
    return BuiltModel(module, draw(seed), "row", batch_size, draw)
