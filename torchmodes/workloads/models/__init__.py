"""Models: how to build each family, its example inputs, and what one item of a batch is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmodes.planning.imports import preloadable

if TYPE_CHECKING:
    import torch

    from torchmodes.workloads.models.base import BuiltModel

FAMILIES = {
    "mlp": "torchmodes.workloads.models.mlp",
    "torchvision": "torchmodes.workloads.models.torchvision",
    "transformers": "torchmodes.workloads.models.transformers",
    "user": "torchmodes.workloads.models.user",
}
"""The module of each family; it has a function ``build``, and ``download`` where weights exist."""

PACKAGES = {"torchvision": ("torchvision",), "transformers": ("transformers",)}
"""The distributions that a family needs beside PyTorch: another version makes results stale."""


def import_libraries(family: str) -> None:
    """Import what building a model of a family needs, before anything of it is measured."""
    for module in preloadable(family, gpu=False):
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


def download_weights(spec: Mapping[str, Any]) -> None:
    """Fetch pretrained weights into their cache, where a model asks for some that are not there.

    Nothing else goes to the network: a model is built from what the machine has.

    Raises
    ------
    ValueError
        When they cannot be had.
    """
    family = importlib.import_module(FAMILIES[spec["family"]])
    if hasattr(family, "download"):
        family.download(spec)


def weights_stamp(spec: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Tell the state of a model's own folder, so that new weights make its results stale.

    It costs no import and reads no file, for the workflow asks it at every start.

    Returns
    -------
    list of tuple
        Name, bytes and time of change (ns) of each file directly in the folder that `source`
        names; nothing where it names none.
    """
    if spec["family"] != "transformers":
        return []
    folder = Path(spec["source"]).expanduser()
    if not (folder / "config.json").is_file():
        return []
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
