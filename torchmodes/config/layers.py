"""Configuration files laid over ``config.yaml``, and which of its sections still run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BESIDE: Mapping[str, Mapping[str, Any]] = {
    "training": {"modes": []},
    "profile": {"cases": [], "picks": False},
}
"""What runs beside the benchmark, and the settings with which nothing of it does."""


def only_named(merged: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Leave out trainings, profiles and studies that a layer with a `benchmark` does not name.

    Whoever lists the cases to measure means these: what ``config.yaml`` has beside its own cases
    is about other models. A section that is named, if only as ``training: {}``, stays. A layer that
    lists cases to profile means these, and no picks beside them that it does not ask for.

    `merged` is the configuration with all layers laid over it, the topmost last.
    """
    merged = _without_picks(merged, layers)
    listing = [number for number, layer in enumerate(layers) if "benchmark" in layer]
    if not listing:
        return dict(merged)
    named = {section for layer in layers[listing[-1] :] for section in layer}
    left_out: dict[str, Any] = {} if "studies" in named else {"studies": None}
    for section, nothing in BESIDE.items():
        settings = merged.get(section)
        if section not in named and isinstance(settings, Mapping):
            left_out[section] = {name: nothing.get(name, value) for name, value in settings.items()}
    return {**merged, **left_out}


def _without_picks(
    merged: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    named = [p for layer in layers if isinstance(p := layer.get("profile"), Mapping)]
    if any("cases" in one for one in named) and not any("picks" in one for one in named):
        return {**merged, "profile": {**merged["profile"], "picks": False}}
    return merged
