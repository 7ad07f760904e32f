"""Models of timm by name; inputs are images of its own size, normalised by its own means.

Pretrained weights lie in the hub's cache, or in that of PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.faults import meant
from torchmodes.results.reasons import cause_of
from torchmodes.workloads.models.base import BuiltModel, seeded
from torchmodes.workloads.models.hub import offline
from torchmodes.workloads.structures import Inputs


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a model with images of shape (batch, channels, height, width).

    Their values are uniform in 0 … 1 before they are normalised as the model's configuration says.

    Raises
    ------
    ValueError
        When timm has no such model, `create_model` does not take the options, or pretrained
        weights are not on this machine.
    """
    from timm.data import resolve_input_data_config

    with offline(), seeded(seed):
        module = _create(spec).eval()
    size = spec["image_size"]
    config = resolve_input_data_config(module, {} if size is None else {"img_size": size})
    mean, deviation = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))

    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(batch_size, *config["input_size"], generator=generator)
        return Inputs.of((images - mean) / deviation)

    logits = getattr(module, "num_classes", 0) > 0
    return BuiltModel(module, draw(seed), "image", batch_size, draw, logits=logits)


def download(spec: Mapping[str, Any]) -> None:
    """Put pretrained weights into the caches, if they are asked for and not there.

    Raises
    ------
    ValueError
        When timm has no such model, or the server cannot be reached.
    """
    if spec["weights"] != "pretrained":
        return
    try:
        with offline():
            _create(spec)
    except ValueError:
        import timm

        _check_name(spec["name"])
        try:
            timm.create_model(spec["name"], pretrained=True)
        except Exception as error:  # of the hub's client, of urllib, of timm
            reason = " ".join(str(error).split())
            raise ValueError(f"cannot download {spec['name']!r}: {reason}") from error


def _create(spec: Mapping[str, Any]) -> nn.Module:
    import timm
    from huggingface_hub import constants
    from timm.models import resolve_model_input_args

    name, options = spec["name"], spec["options"]
    _check_name(name)
    size = {} if spec["image_size"] is None else {"img_size": spec["image_size"]}
    pretrained = spec["weights"] == "pretrained"
    if pretrained:
        _check_cached(name)
    try:
        arguments = resolve_model_input_args(name, size, **options)
        return timm.create_model(**arguments, pretrained=pretrained)
    except OSError as error:  # what the hub's client raises for what is not in the cache
        raise _absent(name, f"in the hub's cache {constants.HF_HUB_CACHE}") from error
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{'options' if options else 'name'}: timm cannot create {name!r} with this"
            f" configuration ({cause_of(error)})"
        ) from error


def _check_name(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    if architecture not in (known := timm.list_models()) and not timm.is_model(architecture):
        raise ValueError(f"name: timm has no model {architecture!r}{meant(architecture, known)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ValueError(f"name: timm's {architecture!r} has no weights {tag!r}{meant(tag, tags)}")


def _check_cached(name: str) -> None:
    """Refuse weights that timm would fetch by their address, past the hub."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or config.hf_hub_id or not isinstance(config.url, str):
        return
    file = Path(torch.hub.get_dir(), "checkpoints", config.url.rpartition("/")[2])
    if not file.is_file():
        raise _absent(name, f"as {file}")


def _absent(name: str, where: str) -> ValueError:
    return ValueError(
        f"weights: pretrained, but those of {name!r} are not on this machine ({where})\n"
        "get them by `make check ARGS=--download` where there is a network, or set HF_HOME and"
        " TORCH_HOME to folders that have them, or use weights: random"
    )
