"""What every section of the configuration shares: its checks, and the types of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Task = Literal["training", "inference"]
Device = Literal["cpu", "cuda", "mps"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """One section of the configuration: unknown keys and silent conversions are faults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, given: Any) -> Any:
        """Read numbers given as text: inside ``--config 'training={…}'`` Snakemake keeps text."""
        if not isinstance(given, Mapping):
            return given
        return {
            key: _read(value)
            if key in cls.model_fields and not _takes_text(cls.model_fields[key].annotation)
            else value
            for key, value in given.items()
        }


def _takes_text(annotation: Any) -> bool:
    """Whether text may stand somewhere in a value of this type."""
    if annotation is str or annotation is Any or isinstance(annotation, str):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True  # it reads its own values
    return any(map(_takes_text, get_args(annotation)))


def _read(value: Any) -> Any:
    """Read text, also in a list, as YAML does."""
    if isinstance(value, list):
        return [_read(member) for member in value]
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
