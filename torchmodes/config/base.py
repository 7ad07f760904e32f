"""What every section of the configuration shares: its checks, and the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from torchmodes.config.faults import NO_TEXT, meant

Task = Literal["training", "inference", "generation"]
Device = Literal["cpu", "cuda", "mps"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8", "int4", "fp8"]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", max_length=64)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=2**63 - 1)]
REFERENCE = r"^.+\.py:[A-Za-z_]\w*$"
Reference = Annotated[str, Field(pattern=REFERENCE)]
"""A function in a file of the user's, such as ``path/to/file.py:build``."""


def _nameable(path: str) -> str:
    if set(path) & set("{}"):
        raise ValueError(f"{path!r} has braces, which Snakemake takes for wildcards; rename it")
    return path


FilePath = Annotated[str, AfterValidator(_nameable)]
"""A path that a rule of the workflow reads."""


def _plain(value: Any) -> Any:
    """Refuse what YAML reads and JSON has not, as which no job could be sent to its process."""
    for member in value.values() if isinstance(value, dict) else value:
        if isinstance(member, dict | list):
            _plain(member)
        elif not (member is None or isinstance(member, str | bool | int | float)):
            given = str(member) if isinstance(member, date) else member
            raise ValueError(f"{given!r} {NO_TEXT}")
    return value


_OPTIONS = dict[str, Any]
Options = Annotated[_OPTIONS, AfterValidator(_plain)]
"""Keyword arguments for code that torchmodes does not know."""

_SCIENTIFIC = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+", re.ASCII)
"""A number in YAML 1.2; YAML 1.1, which PyYAML reads, wants a point and a sign: ``1.0e-3``."""


class Section(BaseModel):
    """One section of the configuration: unknown keys and silent conversions are faults."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, given: Any) -> Any:
        """Read numbers given as text.

        Inside ``--config 'training={…}'`` Snakemake keeps text, and ``1e-3`` is text in any file.
        """
        if not isinstance(given, Mapping):
            return given
        fields = cls.model_fields
        return {k: _read(v, fields[k].annotation) if k in fields else v for k, v in given.items()}


def by_tag(union: Any) -> dict[str, Any]:
    """Return the sections of a union by the tag that chooses each: ``{"eager": EagerMode, …}``."""
    sections, field = get_args(union)
    return {
        get_args(section.model_fields[field.discriminator].annotation)[0]: section
        for section in get_args(sections)
    }


def known_or_reference(kind: str, known: Collection[str]) -> AfterValidator:
    """Take one of these words, or a reference to a function of the user's."""

    def check(given: str) -> str:
        if given in known or re.fullmatch(REFERENCE, given):
            return given
        told = f"{given!r} is neither a {kind} nor path/to/file.py:function"
        raise ValueError(told + meant(given, known))

    return AfterValidator(check)


def or_null(section: type[Section]) -> BeforeValidator:
    """Let null stand for a section, and mean the section with its defaults."""
    return BeforeValidator(
        lambda given: {} if _without_text(given, whole=False) is None else given,
        json_schema_input_type=section | None,
    )


def _takes_text(annotation: Any) -> bool:
    """Whether text may stand somewhere in a value of this type."""
    if annotation is str or annotation is Any or isinstance(annotation, str):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True  # it reads its own values
    return any(map(_takes_text, get_args(annotation)))


def _read(value: Any, annotation: Any) -> Any:
    """Read the texts of a value that its type has no place for."""
    if annotation == _OPTIONS:  # pydantic has taken off what checks it
        return _with_numbers(value)
    if _takes_text(annotation):
        return value
    return _without_text(
        value, whole=_mentions(annotation, int) and not _mentions(annotation, float)
    )


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(part, wanted) for part in get_args(annotation))


def _without_text(value: Any, *, whole: bool) -> Any:
    """Read text, also in a list, as YAML does; `whole`: a number like 1e4 stands for 10000."""
    if isinstance(value, list):
        return [_without_text(member, whole=whole) for member in value]
    value = _with_numbers(value)
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def _with_numbers(value: Any) -> Any:
    """Read texts like 1e-3 as numbers, at any depth; other text stays text."""
    if isinstance(value, str):
        return float(value) if _SCIENTIFIC.fullmatch(value) else value
    if isinstance(value, list):
        return [_with_numbers(member) for member in value]
    if isinstance(value, Mapping):
        return {key: _with_numbers(member) for key, member in value.items()}
    return value
