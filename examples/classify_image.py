"""Classify a photograph with a model of torchvision: the very module that is measured.

    python -m examples.classify_image                     a photograph that matplotlib ships
    python -m examples.classify_image cat.jpg             your own
    python -m examples.classify_image cat.jpg --model vit_b_16
    python -m examples.classify_image cat.jpg --model resnet50 --weights resnet50.pth

Without ``--weights`` torchvision's pretrained ones are read from its cache; ``--download`` puts
them there.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.markup import escape
from torch import nn

from torchmodes.config.models import TorchvisionModel
from torchmodes.workloads.models import build_model, download_weights
from torchmodes.workloads.models.torchvision import published_weights

SHOWN = 5


def load_classifier(name: str, *, weights: Path | None, download: bool = False) -> nn.Module:
    """Build a classifier as the benchmark does, with pretrained weights or those of a file.

    Raises
    ------
    ValueError
        When the weights are not there or belong to another model.
    """
    section = TorchvisionModel(
        family="torchvision", name=name, weights="random" if weights else "pretrained"
    ).model_dump()
    if download:
        download_weights(section)
    module = build_model(section, seed=42, batch_size=1, device="cpu").module
    if weights is not None:
        try:
            module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise ValueError(f"--weights {weights}: {str(error).splitlines()[0]}") from error
    return module


def classify(module: nn.Module, image: Image.Image, *, name: str) -> list[tuple[str, float]]:
    """Return ImageNet's categories with their probabilities, the likeliest first.

    The image is resized, cropped and normalised as the model's published weights ask for.
    """
    published = published_weights(name)
    batch = published.transforms()(image).unsqueeze(0)
    with torch.inference_mode():
        probabilities = module(batch).softmax(dim=-1).squeeze(0)
    ranked = probabilities.argsort(descending=True).tolist()
    return [(published.meta["categories"][i], probabilities[i].item()) for i in ranked]


def sample_photograph() -> Path:
    """Return the portrait of Grace Hopper, in uniform, that matplotlib ships."""
    import matplotlib as mpl

    return Path(mpl.get_data_path(), "sample_data", "grace_hopper.jpg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify one photograph; return 1 when it, or the weights, cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m examples.classify_image")
    parser.add_argument("image", type=Path, nargs="?", default=None)
    parser.add_argument("--model", default="resnet50", help="a classifier of torchvision")
    parser.add_argument("--weights", type=Path, help="a state dictionary saved by torch.save")
    parser.add_argument("--download", action="store_true", help="fetch weights that lack")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    file = options.image or sample_photograph()
    try:
        with Image.open(file) as image:
            photograph = image.convert("RGB")
        module = load_classifier(options.model, weights=options.weights, download=options.download)
        ranked = classify(module, photograph, name=options.model)
    except (ValueError, OSError) as error:
        console.print(escape(str(error)), style="red")
        return 1
    console.print(f"{escape(str(file.name))}, by {options.model}:")
    for category, probability in ranked[:SHOWN]:
        console.print(f"  {probability:6.1%}  {escape(category)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
