"""What is inside a model: its weights, and what every layer makes of one row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

HISTOGRAM_BINS = 40


@dataclass(frozen=True, eq=False)
class Activation:
    """The output of one layer: its name and class, and what each of its units gave."""

    layer: str
    kind: str
    units: np.ndarray

    @property
    def zeros(self) -> float:
        """Share of the values that are exactly zero: units that a ReLU has switched off."""
        return float((self.units == 0).mean())


def activations(module: nn.Module, row: torch.Tensor) -> list[Activation]:
    """Call a module and return what each of its layers put out, in the order of execution.

    It is called with a row, shape (1, features), in evaluation mode; its hooks are removed again.
    """
    layers: list[Activation] = []

    def keep(name: str, layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        layers.append(Activation(name, type(layer).__name__, output.flatten().numpy().copy()))

    handles = [
        layer.register_forward_hook(partial(keep, name))
        for name, layer in module.named_modules()
        if not list(layer.children())
    ]
    try:
        with torch.inference_mode():
            module(row)
    finally:
        for handle in handles:
            handle.remove()
    return layers


def activation_table(layers: list[Activation]) -> pd.DataFrame:
    """Return one row per layer: name, class, units, and how their values are spread."""
    return pd.DataFrame(
        [
            {
                "layer": one.layer,
                "class": one.kind,
                "units": one.units.size,
                "mean": float(one.units.mean()),
                "min": float(one.units.min()),
                "max": float(one.units.max()),
                "zero": one.zeros,
            }
            for one in layers
        ]
    )


def parameter_table(module: nn.Module) -> pd.DataFrame:
    """Return one row per parameter: name, shape, count, and how its values are spread."""
    return pd.DataFrame(
        [
            {
                "parameter": name,
                "shape": " × ".join(map(str, values.shape)),
                "values": values.numel(),
                "mean": values.mean().item(),
                "deviation": values.std(correction=0).item(),
                "min": values.min().item(),
                "max": values.max().item(),
            }
            for name, parameter in module.named_parameters()
            for values in [parameter.detach()]
        ]
    )


def histogram(values: np.ndarray) -> pd.DataFrame:
    """Count finite values in equal bins: from ``low`` to ``high`` there are ``count``."""
    finite = values[np.isfinite(values)].astype(float)  # of a training that diverged there is none
    counts, edges = np.histogram(finite, HISTOGRAM_BINS)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
