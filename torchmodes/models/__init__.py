"""Models: how to build each family, its example inputs, and what one item of a batch is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from torchmodes.models.base import BuiltModel

FAMILIES = {
    "mlp": "torchmodes.models.mlp",
    "user": "torchmodes.models.user",
}
"""The module of each family; it has a function ``build``."""


def build_model(
    spec: dict[str, Any],
    *,
    seed: int,
    batch_size: int,
    device: torch.device | str,
    features: int | None = None,
) -> BuiltModel:
    """Build a model in evaluation mode, with example inputs, both from the seed.

    Parameters
    ----------
    spec
        The model's section of the configuration, as a dictionary.
    seed
        Seed of weights and inputs.
    batch_size
        Items in the example inputs.
    device
        Where the module and the inputs are put.
    features
        Number of columns of the table (family ``mlp`` only).
    """
    family = importlib.import_module(FAMILIES[spec["family"]])
    return family.build(spec, seed=seed, batch_size=batch_size, features=features).to(device)
