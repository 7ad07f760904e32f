"""What is laid over ``config.yaml``, and what of it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BESIDE = {"training": "modes", "profile": "cases"}
"""What runs beside the benchmark, and the list that says how much of it; and all `studies`."""


def only_named(merged: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Leave out trainings, profiles and studies that a layer with a `benchmark` does not name.

    Whoever lists the cases to measure means these: what ``config.yaml`` has beside its own cases
    is about other models. A section that is named, if only as ``training: {}``, stays.

    Parameters
    ----------
    merged
        The configuration with all layers laid over it.
    layers
        What was laid over ``config.yaml``, the topmost last.
    """
    listing = [number for number, layer in enumerate(layers) if "benchmark" in layer]
    if not listing:
        return dict(merged)
    named = {section for layer in layers[listing[-1] :] for section in layer}
    left_out: dict[str, Any] = {} if "studies" in named else {"studies": None}
    for section, members in BESIDE.items():
        settings = merged.get(section)
        if section not in named and isinstance(settings, Mapping):
            left_out[section] = {**settings, members: []}
    return {**merged, **left_out}
