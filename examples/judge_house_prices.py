"""The house-price model as it was trained in eager, judged on the rows that no training has seen.

    models:
      trained:
        family: user
        factory: examples/judge_house_prices.py:build
        inputs: examples/judge_house_prices.py:inputs
        quality: examples/judge_house_prices.py:evaluate
        quality_margin: 0.005

A score is minus the absolute error of a row's price, in standard deviations of the price: the
margin allows a mode to miss by half a hundredth of one more than eager does. Train first:

    snakemake --cores 4 results/training/eager/metrics.json
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from torchmodes.planning.cases import TABLE_FILES
from torchmodes.prediction.artefacts import weights_of
from torchmodes.prediction.loading import load_mlp
from torchmodes.workloads.training.dataset import Tensors, load_statistics, load_tensors


def build() -> nn.Module:
    """Return the trained model: z-scored features of shape (batch, features) to (batch, 1)."""
    _, statistics = TABLE_FILES
    return load_mlp(weights_of("eager"), load_statistics(Path(statistics)))


def inputs(batch_size: int) -> torch.Tensor:
    """Return rows of the training split."""
    rows = _tensors().x_train
    return rows[torch.randint(len(rows), (batch_size,))]


def evaluate(call: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return minus the absolute error of each row of the test split."""
    tensors = _tensors()
    return -(call(tensors.x_test) - tensors.y_test).abs().squeeze(dim=-1)


def _tensors() -> Tensors:
    table, statistics = map(Path, TABLE_FILES)
    return load_tensors(table, statistics, device="cpu")
