"""Modes: one module per engine, each a way of executing a model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmodes.config.modes import engine_class, engine_module, read_mode

if TYPE_CHECKING:
    from torchmodes.workloads.modes.base import Engine


def create_engine(
    options: Mapping[str, Any], *, operators: Path | None = None, precision: str = "fp32"
) -> Engine:
    """Create the engine of a mode from its section; the other parameters are those of `Engine`."""
    name = options["engine"]
    engine = getattr(importlib.import_module(engine_module(name)), engine_class(name))
    return engine(read_mode(options), operators=operators, precision=precision)
