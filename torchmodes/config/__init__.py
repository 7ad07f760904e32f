"""The configuration: what ``config.yaml`` may say, checked as a whole before anything runs.

Every fault is reported at once, each with its location and the nearest valid word. Importing this
package costs no PyTorch: Snakemake reads the configuration at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from torchmodes.config.base import Device, Precision, Task
from torchmodes.config.faults import InvalidConfig, located
from torchmodes.config.layers import only_named
from torchmodes.config.models import MlpModel, Model, TorchvisionModel, TransformersModel
from torchmodes.config.modes import (
    BASELINE_MODE,
    BASELINE_PRECISION,
    ENGINES_THAT_GENERATE,
    ENGINES_THAT_TRAIN,
    CompileMode,
    EagerMode,
    FxMode,
    Mode,
    TorchScriptMode,
)
from torchmodes.config.names import dangling_names
from torchmodes.config.repeated import repeated_keys
from torchmodes.config.run import (
    HOUSING_FEATURES,
    SYNTHETIC,
    Config,
    Data,
    Grid,
    Measurement,
    Profile,
    Training,
)

__all__ = [
    "BASELINE_MODE",
    "BASELINE_PRECISION",
    "ENGINES_THAT_GENERATE",
    "ENGINES_THAT_TRAIN",
    "HOUSING_FEATURES",
    "SYNTHETIC",
    "CompileMode",
    "Config",
    "Data",
    "Device",
    "EagerMode",
    "FxMode",
    "Grid",
    "Measurement",
    "MlpModel",
    "Mode",
    "Model",
    "Precision",
    "Profile",
    "Task",
    "TorchScriptMode",
    "TorchvisionModel",
    "Training",
    "TransformersModel",
    "config_schema",
    "only_named",
    "parse_config",
]


def parse_config(raw: Mapping[str, Any], *, files: Iterable[str | Path] = ()) -> Config:
    """Check a configuration as read from YAML.

    Parameters
    ----------
    raw
        What Snakemake made of all files and the command line.
    files
        The files, to look for what was lost in that: keys that stand twice.

    Raises
    ------
    InvalidConfig
        With every fault: its location, what is wrong and the nearest valid word.
    """
    try:
        config, faults = Config.model_validate(dict(raw)), []
    except ValidationError as error:
        config, faults = None, [fault for e in error.errors() for fault in located(e, raw, Config)]
    except RecursionError:
        config, faults = None, ["config: nested too deeply; does an alias stand in its own anchor?"]
    faults += [*dangling_names(raw), *repeated_keys(files)]
    if config is None or faults:
        raise InvalidConfig(faults)
    return config


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of ``config.yaml`` (shipped as ``config/schema.json``)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
