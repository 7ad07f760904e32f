"""Functions that users bring in files of their own, named ``path/to/file.py:function``."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


def user_file(reference: str) -> Path:
    """Return the file of a reference ``path/to/file.py:function``."""
    return Path(reference.rpartition(":")[0])


def load_function(reference: str) -> Callable[..., Any]:
    """Import the function that ``path/to/file.py:function`` names.

    The file's folder joins ``sys.path``, so that it can import its neighbours.

    Raises
    ------
    ValueError
        When the file or the function is not there, naming what is.
    """
    path, name = user_file(reference), reference.rpartition(":")[2]
    if not path.is_file():
        raise ValueError(f"{reference}: no file {path} in {Path.cwd()}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module_name = _module_name(path)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{reference}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if callable(value))
        raise ValueError(f"{reference}: {path} has no function {name!r}; it has {there or 'none'}")
    return function


def _module_name(path: Path) -> str:
    """Name a file's module for itself: json.py must not become everybody's json."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    # An identifier, for TorchScript makes names of its own from it.
    return re.sub(r"\W", "_", f"user_{path.stem}_{digest}")


def user_files(options: Mapping[str, Any]) -> list[Path]:
    """Return the user's files that a section of the configuration names, sorted."""
    return sorted({user_file(reference) for _, reference in _references(options)})


def missing_files(place: str, options: Mapping[str, Any]) -> list[str]:
    """Tell the user's files that a section of the configuration names and that are not there.

    Parameters
    ----------
    place
        Where the section stands, such as ``models.mine``.
    options
        The section.
    """
    return [
        f"{place}.{key}: no file {user_file(reference)} in {Path.cwd()};"
        " start in the folder that it counts from, or write the whole path"
        for key, reference in _references(options)
        if not user_file(reference).is_file()
    ]


def _references(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of each reference in a section."""
    for key, value in options.items():
        several = isinstance(value, list)
        for position, member in enumerate(value if several else [value]):
            if isinstance(member, str) and _REFERENCE.match(member):
                yield f"{key}[{position}]" if several else key, member


_REFERENCE = re.compile(r".+\.py:[A-Za-z_]\w*$")
