"""Image classifiers of torchvision, by name; the output is one tensor of logits.

Building never touches the network: pretrained weights are read from torchvision's cache, and
`download` is what fills it. torchvision is imported by the functions, for it takes seconds.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torchmodes.config.faults import meant
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.structures import Inputs

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SERVER_SILENT_S = 15.0


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a classifier with standard-normal images of shape (batch, 3, size, size).

    Raises
    ------
    ValueError
        When torchvision has no such model, or its pretrained weights are not in the cache.
    """
    from torchvision import models

    name = spec["name"]
    _check_name(name)
    weights = _cached_weights(name) if spec["weights"] == "pretrained" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = models.get_model(name, weights=weights).eval()
    size = spec["image_size"]

    # A generator of their own: random and pretrained weights get the same images.
    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return Inputs.of(torch.randn(batch_size, 3, size, size, generator=generator))

    return BuiltModel(
        module=module,
        inputs=draw(seed),
        item="image",
        batch_size=batch_size,
        draw=draw,
        logits=True,
    )


def download(spec: Mapping[str, Any]) -> None:
    """Put pretrained weights into torchvision's cache, if they are asked for and not there.

    Raises
    ------
    ValueError
        When torchvision has no such model, or the server cannot be reached.
    """
    if spec["weights"] != "pretrained":
        return
    weights = published_weights(spec["name"])
    if cached_file(weights).is_file():
        return
    try:
        with _silence_limited(SERVER_SILENT_S):
            weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, a silent server, a broken file
        raise ValueError(
            f"cannot download {weights.url} to {cached_file(weights)}: {error}"
        ) from error


def published_weights(name: str) -> WeightsEnum:
    """Return torchvision's best weights of a classifier, with their categories and transforms."""
    from torchvision import models

    _check_name(name)
    return models.get_model_weights(name).DEFAULT  # ty: ignore[missing-attribute]


def cached_file(weights: WeightsEnum) -> Path:
    """Return where torchvision keeps a file of weights: below TORCH_HOME or the user's cache."""
    return Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])


def _cached_weights(name: str) -> WeightsEnum:
    weights = published_weights(name)
    file = cached_file(weights)
    if not file.is_file():
        raise ValueError(
            f"weights: pretrained, but {file.name} of {name!r} is not in {file.parent}\n"
            "get it by `make check ARGS=--download` where there is a network, or set TORCH_HOME to"
            " a folder whose hub/checkpoints has it, or use weights: random"
        )
    return weights


def _check_name(name: str) -> None:
    from torchvision import models

    # Of this module alone: detection and segmentation models return dictionaries, not logits.
    if name not in (known := models.list_models(module=models)):
        raise ValueError(f"name: torchvision has no classifier {name!r}{meant(name, known)}")


@contextmanager
def _silence_limited(seconds: float) -> Generator[None]:
    """Give up on a server that keeps silent; torchvision itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
