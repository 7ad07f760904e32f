"""Models of torchvision by name: of images, videos, pairs of images; detectors; quantised ones."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchmodes.config.faults import meant
from torchmodes.workloads.models.base import BuiltModel, seeded
from torchmodes.workloads.models.detections import matched
from torchmodes.workloads.structures import Inputs

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

SERVER_SILENT_S = 15.0
USUAL_SIZE = 224
ITEMS = {"video": "video", "optical_flow": "pair"}
"""What an item is, by the kind of model; else it is an image."""
WITH_LOGITS = ("", "quantization", "video")
"""Kinds whose output has the logits of classes in its last dimension."""
UNTRAINED = (
    "a detector with random weights finds nothing, or the same everywhere: equal outputs say little"
    " about a mode; use weights: pretrained to judge it"
)


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a model with inputs of its kind: see `_inputs`.

    Raises
    ------
    ValueError
        When torchvision has no such model, its builder does not take the options, or its pretrained
        weights are not in the cache.
    """
    name, pretrained = spec["name"], spec["weights"] == "pretrained"
    kind = kind_of(name)
    weights = _cached_weights(name) if pretrained else None
    with seeded(seed):
        module = _build(name, kind, weights, spec["options"]).eval()
    size, frames = spec["image_size"] or _own_size(name, kind, module), spec["frames"]

    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return _inputs(kind, batch_size, size, frames, generator)

    detects = kind == "detection"
    return BuiltModel(
        module=module,
        inputs=draw(seed),
        item=ITEMS.get(kind, "image"),
        batch_size=batch_size,
        draw=draw,
        logits=kind in WITH_LOGITS,
        align=matched if detects else None,
        caveat=UNTRAINED if detects and not pretrained else None,
    )


def kind_of(name: str) -> str:
    """Return the package of torchvision.models that a model is in; "" of a classifier of images.

    Raises
    ------
    ValueError
        When torchvision has no such model.
    """
    from torchvision import models

    if name not in (known := models.list_models()):
        raise ValueError(f"name: torchvision has no model {name!r}{meant(name, known)}")
    package = models.get_model_builder(name).__module__.rpartition(".")[0]
    return package.removeprefix(models.__name__).removeprefix(".")


def _build(
    name: str, kind: str, weights: WeightsEnum | None, options: Mapping[str, Any]
) -> nn.Module:
    from torchvision import models

    given: dict[str, Any] = {"weights": weights, **options}
    taken = inspect.signature(models.get_model_builder(name)).parameters
    if "weights_backbone" in taken:  # published ones, unless told: a download
        given.setdefault("weights_backbone", None)
    if kind == "quantization":
        given.setdefault("quantize", True)
    try:
        return models.get_model(name, **given)
    except (TypeError, ValueError) as error:
        if not options:
            raise
        raise ValueError(f"options: {name!r} does not take them ({error})") from error


def _own_size(name: str, kind: str, module: nn.Module) -> int:
    """Return the height and width of images that a model is made for, pixels."""
    if kind == "detection":
        resizing: Any = module.transform
        return resizing.fixed_size[0] if resizing.fixed_size else resizing.min_size[-1]
    if kind not in ("segmentation", "video"):
        return USUAL_SIZE
    told = getattr(published_weights(name).transforms, "keywords", {})
    size = told.get("crop_size") or told.get("resize_size") or USUAL_SIZE
    return size if isinstance(size, int) else size[0]


def _inputs(
    kind: str, batch_size: int, size: int, frames: int, generator: torch.Generator
) -> Inputs:
    """Draw a batch.

    Returns
    -------
    Inputs
        Of a detector a list of images with values in 0 … 1, each of shape (3, size, size). Else
        standard-normal values: of optical flow two tensors, of videos one of shape (batch, 3,
        frames, size, size), of anything else one of shape (batch, 3, size, size).
    """

    def images(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, size, size, generator=generator)

    match kind:
        case "detection":
            shape = 3, size, size
            return Inputs(([torch.rand(shape, generator=generator) for _ in range(batch_size)],))
        case "optical_flow":
            return Inputs.of((images(batch_size, 3), images(batch_size, 3)))
        case "video":
            return Inputs.of(images(batch_size, 3, frames))
        case _:
            return Inputs.of(images(batch_size, 3))


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
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SERVER_SILENT_S)  # torchvision itself would wait for ever
    try:
        weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, a silent server, a broken file
        raise ValueError(
            f"cannot download {weights.url} to {cached_file(weights)}: {error}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def published_weights(name: str) -> WeightsEnum:
    """Return torchvision's best weights of a model, with their categories and transforms."""
    from torchvision import models

    kind_of(name)
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
