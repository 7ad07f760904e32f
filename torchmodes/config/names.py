"""Checks of names: every model and mode is defined, and can do the task that it is listed for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchmodes.config.faults import meant
from torchmodes.config.lengths import lengths_fault
from torchmodes.config.models import FAMILIES, cannot_generate
from torchmodes.config.modes import BASELINE_MODE, ENGINES, EagerMode, cannot_do
from torchmodes.config.run import Studies, Training

STUDIED_ENGINES = {"studies.inference_context": "eager", "studies.dynamic_shapes": "compile"}
NOT_OF_GENERATION = ("studies.dynamic_shapes", "studies.inference_context")


def dangling_names(raw: Mapping[str, Any]) -> list[str]:
    """Return a fault for each name of a mode or model that the configuration does not define.

    It reads the raw YAML, so that these faults are told together with those of the schema.
    """
    modes, models = _mapping(raw, "modes"), _mapping(raw, "models")
    settings = _mapping(raw, "training")
    faults = []
    plain = EagerMode(engine="eager").model_dump()
    if plain | dict(_mapping(modes, BASELINE_MODE)) != plain or BASELINE_MODE not in modes:
        faults.append(
            "modes: needs `eager: {engine: eager}`, against which every speed-up is measured; give"
            " a mode with options another name"
        )
    trained = settings.get("model", Training.model_fields["model"].default)
    families = [name for name, section in FAMILIES.items() if section.reads_table]
    of_table = [name for name in models if _mapping(models, name).get("family") in families]
    studies = _mapping(raw, "studies")
    listed = {
        "benchmark": raw.get("benchmark"),
        "profile.cases": _mapping(raw, "profile").get("cases"),
        **{f"studies.{study}": studies.get(study) for study in Studies.model_fields},
    }
    blocks: dict[str, Mapping[str, Any]] = {
        "training": {"task": "training", "modes": settings.get("modes")},
        **{f"{key}[{i}]": b for key, value in listed.items() for i, b in enumerate(_blocks(value))},
    }
    if settings.get("modes") and trained not in of_table:
        faults.append(
            f"training.model: no model of family {' or '.join(families)} has the name {trained!r}"
            + meant(trained, of_table)
        )
    diffs = _mapping(raw, "profile").get("diffs")
    for i, pair in enumerate(diffs if modes and isinstance(diffs, list) else []):
        faults += [
            f"profile.diffs[{i}][{j}]: unknown mode {name!r}" + meant(name, modes)
            for j, name in _names(pair)
            if name not in modes
        ]
    for where, block in blocks.items():
        generates, study = block.get("task") == "generation", where.partition("[")[0]
        if generates and study in NOT_OF_GENERATION:
            faults.append(f"{where}.task: this study does not cover generation; use inference")
        elif "task" in block and not generates and study == "studies.position":
            faults.append(f"{where}.task: only generation has positions; use generation")
        # Where there are no models or modes at all, that is the fault: not every name of one.
        for i, name in _names(block.get("models") if models else None):
            if name not in models:
                faults.append(f"{where}.models[{i}]: unknown model {name!r}" + meant(name, models))
            elif fault := lengths_fault(_mapping(models, name), block):
                faults.append(f"{where}.{fault}")
            elif generates and (fault := cannot_generate(_mapping(models, name))):
                faults.append(f"{where}.models[{i}]: {name!r} {fault}")
            elif (
                study == "studies.dynamic_shapes"
                and block.get("task") == "training"
                and name not in of_table
            ):
                faults.append(
                    f"{where}.models[{i}]: {name!r} does not read the table; for training, this"
                    " study is about the table's last, smaller batch"
                )
        for i, name in _names(block.get("modes") if modes else None):
            engine = _mapping(modes, name).get("engine")
            if name not in modes:
                faults.append(f"{where}.modes[{i}]: unknown mode {name!r}" + meant(name, modes))
            elif (wanted := STUDIED_ENGINES.get(study)) and engine != wanted:
                faults.append(
                    f"{where}.modes[{i}]: {name!r} has the engine {engine}; this study takes only"
                    f" modes whose engine is {wanted}"
                )
            elif engine in ENGINES and (fault := cannot_do(engine, str(block.get("task")))):
                # An unknown engine is told where the mode is defined.
                faults.append(f"{where}.modes[{i}]: {name!r} {fault}")
    return faults


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _blocks(value: Any) -> list[Mapping[str, Any]]:
    return [b if isinstance(b, Mapping) else {} for b in value] if isinstance(value, list) else []


def _names(value: Any) -> list[tuple[int, str]]:
    """Return the texts of a list with their places; what is no text the schema tells."""
    listed = value if isinstance(value, list) else []
    return [(place, name) for place, name in enumerate(listed) if isinstance(name, str)]
