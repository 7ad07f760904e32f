"""The configuration: what ``config.yaml`` may say, checked as a whole before anything runs.

Every fault is reported at once, each with its location and the nearest valid word. Importing this
package does not import PyTorch: Snakemake reads the configuration at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from torchmodes.config.faults import InvalidConfig, located
from torchmodes.config.names import dangling_names
from torchmodes.config.repeated import repeated_keys
from torchmodes.config.run import Config


def parse_config(raw: Mapping[str, Any], *, files: Iterable[str | Path] = ()) -> Config:
    """Check a configuration as Snakemake made it of all files and the command line.

    The files are searched for what Snakemake loses: keys that are given twice.

    Raises
    ------
    InvalidConfig
        With every fault: its location, what is wrong and the nearest valid word.
    """
    try:
        config, faults = Config.model_validate(dict(raw)), []
    except ValidationError as error:
        config, faults = None, [located(e, raw, Config) for e in error.errors()]
    except RecursionError:
        config, faults = None, ["config: nested too deeply; does an alias stand in its own anchor?"]
    faults += [*dangling_names(raw), *repeated_keys(files)]
    if config is None or faults:
        raise InvalidConfig(faults)
    return config


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of ``config.yaml`` (shipped as ``config/schema.json``)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
