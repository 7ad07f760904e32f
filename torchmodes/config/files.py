"""Reading configuration files: a faulty one is reported in one sentence, with its line.

python -m torchmodes.config.files --configfile mine.yaml     says what is wrong, or nothing

Snakemake reads the files of ``--configfile`` before any of ours, and reports a faulty one without
its name, or as a traceback; so `make` checks them here first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

MADE = ("results", "reports", "logs")
"""Folders of what a run makes: a path in one is no configuration."""

SUFFIXES = (".yaml", ".yml", ".json")
SWALLOWED = "; --configfile takes every word after it: put the files that you ask for before it"


def read_file(path: Path) -> dict[str, Any]:
    """Read a configuration file, JSON or YAML, as Snakemake does.

    Raises
    ------
    ValueError
        When it is not there, cannot be read, is neither, or is no mapping of sections: one line
        that names the file, the line in it and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ValueError(f"{path}: no such file{where}{_swallowed(path)}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start + 1})") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        try:
            told = yaml.safe_load(text)
        except Exception as error:  # noqa: BLE001 - of a value, such as 2024-02-30, anything
            raise ValueError(f"{path}{_described(error, text)}{_swallowed(path)}") from None
    if told is None:
        raise ValueError(f"{path}: empty; it needs at least one key, such as `seed: 42`")
    if not isinstance(told, dict):
        raise ValueError(f"{path}: not a mapping of sections, such as `seed: 42`")
    return told


def refuse_results(paths: Iterable[Path]) -> None:
    """Refuse files that a run makes where configurations are wanted.

    Raises
    ------
    ValueError
        With the first of them, and how it came there.
    """
    for path in paths:
        if _is_result(path):
            raise ValueError(f"{path}: a result, not a configuration{SWALLOWED}")


def _is_result(path: Path) -> bool:
    return any(path.absolute().is_relative_to(Path(folder).absolute()) for folder in MADE)


def _swallowed(path: Path) -> str:
    """Say how a word that names no configuration came behind ``--configfile``."""
    return SWALLOWED if path.suffix not in SUFFIXES or _is_result(path) else ""


def _described(error: Exception, text: str) -> str:
    """Say where a text is not YAML, and why."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        number = error.problem_mark.line + 1
        lines = text.splitlines()
        line = lines[number - 1] if number <= len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return f", line {number}: indented with a tab; YAML allows only spaces"
        return f", line {number}: {error.problem}"
    if isinstance(error, ReaderError):
        number = text.count("\n", 0, error.position) + 1
        return f", line {number}: a character that YAML does not allow ({error.character:#x})"
    return f": cannot be read as YAML ({type(error).__name__}: {error})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the files that a command line gives Snakemake; return 1 when one is faulty."""
    parser = argparse.ArgumentParser(
        prog="python -m torchmodes.config.files", add_help=False, allow_abbrev=False
    )
    parser.add_argument("--configfile", "--configfiles", type=Path, nargs="+", default=[])
    parser.add_argument("--config", "-C", nargs="*", default=[])
    options, _ = parser.parse_known_args(arguments)
    try:
        for path in options.configfile:
            read_file(path)
        for word in options.config:
            if "=" not in word:
                raise ValueError(f"--config: {word!r} is not KEY=VALUE")
    except ValueError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
