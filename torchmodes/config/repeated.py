"""Keys that are given twice in a configuration file: YAML readers silently keep the last one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml


def repeated_keys(files: Iterable[str | Path]) -> list[str]:
    """Return a fault for each key that stands twice in one mapping of a file, with its lines.

    ``1`` and ``"1"`` are one key, as they look; a key that overrides one of a merge (``<<``) is not
    repeated. The files are YAML or JSON that can be read.
    """
    faults = []
    for file in dict.fromkeys(map(Path, files)):
        # JSON may be indented by tabs, YAML not: what was accepted as either has them as space.
        text = file.read_text(encoding="utf-8").replace("\t", " ")
        try:
            root = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError:  # JSON with a character that YAML does not allow
            continue
        for key, lines in _repeated(root, "", set()):
            named = ", ".join(map(str, lines[:-1])) + f" and {lines[-1]}"
            faults.append(
                f"{key}: given more than once in {_relative(file)}, on lines {named}: keep one"
            )
    return faults


def _repeated(
    node: yaml.Node | None, place: str, seen: set[int]
) -> Iterator[tuple[str, list[int]]]:
    """Yield each repeated key below a node, and the lines on which it stands."""
    if id(node) in seen:  # an alias: its anchor was looked at
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, member in enumerate(node.value):
            yield from _repeated(member, f"{place}[{position}]", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, list[int]] = {}
        for key, value in node.value:
            name = f"{place}.{key.value}".removeprefix(".")
            lines.setdefault(name, []).append(key.start_mark.line + 1)
            yield from _repeated(value, name, seen)
        yield from ((name, found) for name, found in lines.items() if len(found) > 1)


def _relative(file: Path) -> str:
    """Write a path as one would type it here."""
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
