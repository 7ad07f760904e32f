"""Models: how to build each family, its example inputs, and what one item of a batch is.

Building never touches the network: pretrained weights are read from the caches of their libraries,
and `download_weights` is what fills these. A family's module imports its library in functions, for
that takes seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torchmodes.config.models import FAMILIES, family_module

if TYPE_CHECKING:
    import torch

    from torchmodes.workloads.models.base import BuiltModel


def import_libraries(family: str) -> None:
    """Import what building a model of a family needs, before anything of it is measured."""
    for module in FAMILIES[family].preloadable(gpu=False):
        importlib.import_module(module)


def build_model(
    spec: dict[str, Any],
    *,
    seed: int,
    batch_size: int,
    device: torch.device | str,
    features: int | None = None,
) -> BuiltModel:
    """Build a model in evaluation mode, with example inputs, both from the seed.

    `spec` is its section of the configuration; what that lacks is as by default. `features` is the
    number of columns of the table, for a family that reads it.
    """
    family = importlib.import_module(family_module(spec["family"]))
    whole = FAMILIES[spec["family"]].model_construct(**spec).model_dump()
    return family.build(whole, seed=seed, batch_size=batch_size, features=features).to(device)


def download_weights(spec: Mapping[str, Any]) -> None:
    """Fetch pretrained weights into their cache, where a model asks for some that are not there.

    Raises
    ------
    ValueError
        When they cannot be had.
    """
    family = importlib.import_module(family_module(spec["family"]))
    if hasattr(family, "download"):
        family.download(spec)
