"""Faults of a configuration, reported in the terms of the YAML that its author wrote.

Pydantic finds every fault; here each becomes one line: where it is in the YAML file, what is wrong,
and the nearest valid word.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel

NO_TEXT = "is not text to YAML; put it in quotes"


class InvalidConfig(ValueError):
    """The configuration has faults; the message lists every one."""

    def __init__(self, faults: Sequence[str]) -> None:
        count = "1 mistake" if len(faults) == 1 else f"{len(faults)} mistakes"
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(
            f"the configuration has {count}:\n{lines}\ndocs/reference/config.md explains every key."
        )
        self.faults = list(faults)


def nearest(word: object, known: Collection[str]) -> str | None:
    """Return the known word that was probably meant, upper and lower case being alike."""
    known = [other for other in known if isinstance(other, str)]  # YAML may read others
    # The first of those that only case tells apart, and rather the one of the same case.
    alike = {other.casefold(): other for other in reversed(list(known))}
    for there, given in (({k: k for k in known}, str(word)), (alike, str(word).casefold())):
        if close := difflib.get_close_matches(given, list(there), n=1, cutoff=0.6):
            return there[close[0]]
    return None


def meant(word: object, known: Collection[str]) -> str:
    """Say what was probably meant, or else what there is."""
    if (close := nearest(word, known)) is not None:
        return f"; did you mean {close!r}?"
    return f"; known: {', '.join(map(str, known))}" if known else ""


def located(error: Any, raw: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return ``location: message`` for one entry of ``ValidationError.errors()``.

    `raw` is what was validated, as read from YAML, against the model.
    """
    where, section = _locate(error["loc"], raw, model)
    given, context = error["input"], error.get("ctx", {})
    given = str(given) if isinstance(given, date) else given  # as it is written
    if error["loc"][-1] == "[key]":
        section_of_names = ".".join(map(str, error["loc"][:-2]))
        return f"{section_of_names}: the name {given!r} {_of_a_name(error)}"
    match error["type"]:
        case "invalid_key":
            where = ".".join(map(str, error["loc"][:-1])) or "config"
            return f"{where}: the key {given!r} {NO_TEXT}"
        case "string_type" if isinstance(error["input"], bool | int | float | date):
            return f"{where}: {given!r} {NO_TEXT}"
        case "extra_forbidden":
            key = str(error["loc"][-1])
            return (
                f"{where}: unknown key{meant(key, list(section.model_fields) if section else [])}"
            )
        case "missing":
            return f"{where}: is missing"
        case "literal_error":
            words = _quoted(context["expected"])
            return f"{where}: {given!r} is not one of {', '.join(words)}{meant(given, words)}"
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            words = _quoted(context["expected_tags"])
            given = context["tag"]
            return f"{where}.{tag}: {given!r} is not one of {', '.join(words)}{meant(given, words)}"
        case "union_tag_not_found":
            return f"{where}: needs the key {context['discriminator']}"
        case "value_error":
            return f"{where}: {context['error']}"
        case "string_pattern_mismatch" if context["pattern"].startswith(r"^.+\.py:"):
            return (
                f"{where}: {given!r} does not have the form path/to/file.py:function, of a function"
                " or class at the top level of the file"
            )
        case "string_pattern_mismatch":
            return f"{where}: {given!r} does not have the form {context['pattern']}"
        case _:
            return f"{where}: {error['msg'].removeprefix('Input ')} (found {given!r})"


def _of_a_name(error: Any) -> str:
    """Say what is wrong with a key that its author chose."""
    match error["type"]:
        case "string_too_long":
            most = error["ctx"]["max_length"]
            return f"has {len(error['input'])} characters; at most {most} are allowed"
        case "string_pattern_mismatch":
            return "may have letters, digits, '.', '_' and '-', and begins with a letter or digit"
        case _:
            return NO_TEXT


def _quoted(words: str) -> list[str]:
    return [word.strip(" '\"") for word in words.replace(" or ", ", ").split(", ")]


def _locate(
    loc: Iterable[str | int], raw: Any, model: type[BaseModel]
) -> tuple[str, type[BaseModel] | None]:
    """Write a pydantic location as ``benchmark[0].modes`` and find the model it stands in.

    Pydantic's location also names the union member it chose (``mlp``, ``compile``); the reader
    never wrote that as a key, so it selects the model and is left out of the text.
    """
    text, value, annotation, section = "", raw, model, model
    parts = list(loc)
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(part, int):
            text += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, Mapping) and (
            part in value or (last and _member(annotation, part) is None)
        ):
            text += f".{part}" if text else part
            value = value.get(part)
            if section is not None and part in section.model_fields:
                annotation = section.model_fields[part].annotation
        else:
            section = _member(annotation, part) or section
            continue
        if not last:
            section = _only_model(annotation) or section
    return text or "config", section


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield every model that an annotation such as ``dict[str, A | B]`` mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _only_model(annotation: Any) -> type[BaseModel] | None:
    found = list(_models(annotation))
    return found[0] if len(found) == 1 else None


def _member(annotation: Any, tag: str) -> type[BaseModel] | None:
    """Return the union member whose discriminator has the value `tag`."""
    for member in _models(annotation):
        # A discriminator has one value; an option may list the same word among several.
        if any(get_args(field.annotation) == (tag,) for field in member.model_fields.values()):
            return member
    return None
