"""Functions that users bring in files of their own, named ``path/to/file.py:function``."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
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
    values = [
        v for value in options.values() for v in (value if isinstance(value, list) else [value])
    ]
    return sorted({user_file(v) for v in values if isinstance(v, str) and _REFERENCE.match(v)})


_REFERENCE = re.compile(r".+\.py:[A-Za-z_]\w*$")
