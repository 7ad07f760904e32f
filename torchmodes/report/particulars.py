"""What engines and profilers tell of a case, as text: facts, distortion, columns of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torchmodes.report.quantities import NOTHING, duration, figure, percent, ratio_digits, size

_UNITS = {"_s": duration, "_bytes": size}


def facts(told: Mapping[str, Any]) -> str:
    """Write an engine's facts in one line: ``graphs 1; graph breaks none; recompiles 0``."""
    return "; ".join(f"{_spoken(key)} {_value(value)}" for key, value in told.items()) or NOTHING


def distortion(told: Mapping[str, Any]) -> str:
    """Say what a profile's summary tells: how it ended, and how much the profiler slowed it."""
    if told.get("status", "ok") != "ok":
        return f"Not profiled: {told['status']}. {told.get('reason') or ''}".strip()
    profiled, plain = told.get("profiled_step_s"), told.get("unprofiled_step_s")
    if not profiled or not plain:
        return ""
    return (
        f"A profiled step took {duration(profiled)},"
        f" {ratio_digits(profiled / plain)} times as long as one without the profiler."
    )


def missing_parts(told: Mapping[str, Any]) -> str:
    """Say which parts a profile's summary tells to be missing, and why."""
    faults = told.get("faults") or {}
    listed = "; ".join(f"{_spoken(part)} ({reason})" for part, reason in faults.items())
    return f"Missing in it: {listed}." if listed else ""


def column(name: str) -> str:
    """Write the name of a column without its unit: ``self cpu``."""
    return _spoken(next((name.removesuffix(u) for u in _UNITS if name.endswith(u)), name))


def cell(name: str, value: Any) -> str:
    """Write a value with the unit that its column's name ends in."""
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return NOTHING
    return next(
        (write(value) for unit, write in _UNITS.items() if name.endswith(unit)), figure(value)
    )


def threshold(tried: Mapping[str, Any]) -> str:
    """Write the bound that a recommendation's figure crosses: a share, or a duration."""
    bound = tried["threshold"]
    return duration(bound) if tried["finding"] == "short kernels" else percent(bound)


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} ({item})" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else str(value)
