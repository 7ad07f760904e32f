"""The reference pages in ``docs/reference/``, made from what they describe.

python -m tools.reference     writes config.md, records.md and targets.md anew
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from torchmodes.config.run import Config
from torchmodes.results.records import Record
from torchmodes.results.writing import write_atomically

FOLDER = Path("docs/reference")
MAKEFILE = Path(__file__).parents[1] / "Makefile"
MADE = "<!-- Made by `python -m tools.reference`; a test fails when it is out of date. -->"
CONFIG_HEAD = """\
# Configuration

Every key of `config.yaml`, and of what is laid over it by `--configfile` and `--config`. A key
without a default must be there; `config.yaml` has every one of them, so that a file laid over it
holds only what differs: mappings are merged key by key, lists are replaced as a whole. An unknown
key is a mistake.

**A file with a `benchmark` runs that, and of `training`, `profile` and `studies` only what it
names.** `training: {}` names a section and leaves it as it was; `training: null` switches it off.
"""
RECORD_HEAD = """\
# Records

The JSON of a case, `results/benchmark/{task}/{device}/{model}/{mode}/{precision}-b{batch}.json`.
Times are in seconds (`_s`), sizes in bytes, ratios plain numbers (1.02 is 2 %). What does not exist
is null, never NaN or infinite. `torchmodes.results.records.read_record(path)` reads one in Python.
[How torchmodes measures](../measuring.md) defines the figures.
"""
TARGETS_HEAD = """\
# Targets of make

`make` sets up `.venv` where it has to, then does what the target says. `PYTHON=python3.12` chooses
the interpreter of a new environment, `CORES=2` how many cores Snakemake may use (4 unless told),
`ARGS='…'` what the command gets besides. `make` alone is `make run`.
"""
Schema = Mapping[str, Any]


def reference_page(model: type[BaseModel], head: str) -> str:
    """Describe a pydantic model and all that it refers to, a table each, as Markdown.

    Parameters
    ----------
    model
        The outermost model.
    head
        Title and introduction of the page.
    """
    schema = model.model_json_schema()
    titles = _titles(schema)
    parts = [f"{MADE}\n\n{head}", _table(schema, titles)]
    for name, title in titles.items():
        section = schema["$defs"][name]
        parts.append(f"## {title}\n\n{section['description']}\n\n{_table(section, titles)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def targets_page(makefile: str) -> str:
    """Describe the targets of a Makefile by the comments that `make help` shows, as Markdown."""
    found = re.findall(r"^([a-z-]+):[^#\n]*## (.*)$", makefile, re.MULTILINE)
    rows = [f"| `make {target}` | {purpose} |" for target, purpose in found]
    return "\n".join([MADE, "", TARGETS_HEAD, "| target | what it does |", "|---|---|", *rows, ""])


def _titles(schema: Schema) -> dict[str, str]:
    """Return a title for each definition, in the order in which they are first mentioned.

    It is the key whose value the definition describes, with the tag that selects it (``models,
    family: mlp``); a definition that several keys share has its own name.
    """
    mentioned: dict[str, str] = {}
    times: Counter[str] = Counter()
    sections = [schema]
    for section in sections:  # it grows while it is walked
        for key, value in section["properties"].items():
            for name, tag in _mentions(value):
                times[name] += 1
                if name not in mentioned:
                    mentioned[name] = f"{key}, {tag}" if tag else key
                    sections.append(schema["$defs"][name])
    return {
        name: title if times[name] == 1 else schema["$defs"][name]["title"]
        for name, title in mentioned.items()
    }


def _mentions(value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield each definition that a schema mentions, with the tag that selects it in a union."""
    if isinstance(value, list):
        for member in value:
            yield from _mentions(member)
    elif isinstance(value, Mapping):
        if "$ref" in value:
            yield _definition(value["$ref"]), None
        elif "discriminator" in value:
            key = value["discriminator"]["propertyName"]
            for tag, reference in value["discriminator"]["mapping"].items():
                yield _definition(reference), f"{key}: {tag}"
        else:
            for member in value.values():
                yield from _mentions(member)


def _definition(reference: str) -> str:
    return reference.rpartition("/")[2]


def _table(section: Schema, titles: Mapping[str, str]) -> str:
    required = section.get("required", [])
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in section["properties"].items():
        default = "" if key in required else f"`{json.dumps(value.get('default'))}`"
        meaning = value.get("description", "")
        cells = (f"`{key}`", _kind(value, titles), default, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _kind(value: Schema, titles: Mapping[str, str]) -> str:
    """Say in words what a schema admits."""
    if "$ref" in value:
        title = titles[_definition(value["$ref"])]
        return f"[{title}](#{_anchor(title)})"
    if "discriminator" in value:
        tags = value["discriminator"]["mapping"]
        return "one of " + ", ".join(
            f"[{tag}](#{_anchor(titles[_definition(reference)])})"
            for tag, reference in tags.items()
        )
    if "anyOf" in value:
        return " or ".join(_kind(member, titles) for member in value["anyOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    match value.get("type"):
        case "array" if "prefixItems" in value:
            return f"list of {len(value['prefixItems'])}: {_kind(value['prefixItems'][0], titles)}"
        case "array":
            return f"list of {_kind(value['items'], titles)}"
        case "object" if "patternProperties" in value:
            (member,) = value["patternProperties"].values()
            return f"mapping of a name to {_kind(member, titles)}"
        case "object":
            return "mapping"
        case None:
            return "anything"
        case kind:
            return " ".join([{"string": "text"}.get(kind, kind), *_limits(value)])


def _limits(value: Schema) -> list[str]:
    signs = {
        "exclusiveMinimum": "> {}",
        "minimum": "≥ {}",
        "exclusiveMaximum": "< {}",
        "maximum": "≤ {}",
    }
    told = {key: value[key] for key in signs if key in value}
    limits = [signs[k].format(v if isinstance(v, int) else f"{v:g}") for k, v in told.items()]
    return [", ".join(limits)] if limits else []


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def pages() -> dict[Path, str]:
    """Return the text of every page, by its path."""
    return {
        FOLDER / "config.md": reference_page(Config, CONFIG_HEAD),
        FOLDER / "records.md": reference_page(Record, RECORD_HEAD),
        FOLDER / "targets.md": targets_page(MAKEFILE.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        write_atomically(path, text)
