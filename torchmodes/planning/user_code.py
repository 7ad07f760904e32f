"""Functions that users bring in files of their own, named ``path/to/file.py:function``."""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torchmodes.config.base import REFERENCE
from torchmodes.config.faults import meant

ENVIRONMENT = ".env.yaml"
"""What the conda environment of the user's ``mine.py`` has in place of its ``.py``."""

_MAKES_NAMES = re.compile(
    r"\bimport\s*\*|__dict__|\bsys\.modules\b|\bfrom sys import .*\bmodules\b"
    r"|(?<![\w.])(?:globals|locals|vars|exec|eval|setattr)\s*\((?!self\b)"
)
"""What may give a module names that nobody can read in it."""


def user_file(reference: str) -> Path:
    """Return the file of a reference ``path/to/file.py:function``."""
    return Path(reference.rpartition(":")[0])


def load_function(reference: str, *, anew: bool = False) -> Callable[..., Any]:
    """Import the function that ``path/to/file.py:function`` names.

    The file's folder joins ``sys.path``, so that it can import its neighbours. The file runs once,
    so that what its functions make is of the same classes; `anew`: it runs again.

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
    module = None if anew else sys.modules.get(module_name)
    if module is None:
        module = _run_file(path, module_name, reference)
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if callable(value))
        raise ValueError(f"{reference}: {path} has no function {name!r}; it has {there or 'none'}")
    return function


def _run_file(path: Path, module_name: str, reference: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{reference}: {path} is not a Python file")
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, ImportError) and "attempted relative import" in str(error):
            raise ValueError(
                f"{reference}: {path} is run alone, in no package: {error}; import the files beside"
                " it by their names, `from layers import …` for `from .layers import …`"
            ) from error
        raise
    return module


def _module_name(path: Path) -> str:
    """Name a file's module for itself: json.py must not become everybody's json."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    # An identifier, for TorchScript makes names of its own from it.
    return re.sub(r"\W", "_", f"user_{path.stem}_{digest}")


def user_files(options: Mapping[str, Any]) -> list[Path]:
    """Return the user's files that a section of the configuration names, sorted."""
    return sorted({user_file(reference) for _, reference in _references(options)})


def reference_faults(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Tell what of the user's code cannot be as the configuration says, without running it.

    That is a file or a function that is not there, and a function that cannot be called with what
    it is given. What only running the file could tell is taken to be right. Sections are given by
    where they stand, such as ``models.mine``.
    """
    places: dict[str, list[str]] = {}
    for place, section in sections.items():
        for key, reference in _references(section):
            for below, fault in _reference_faults(reference, *_call_of(section, key)):
                places.setdefault(fault, []).append(f"{place}.{below or key}")
    return [f"{', '.join(told)}: {fault}" for fault, told in places.items()]


def _call_of(section: Mapping[str, Any], key: str) -> tuple[list[str], list[str]]:
    """Return the names of what a reference's function is called with, by position and by name."""
    match key.partition("[")[0], "engine" in section:
        case "factory", True:
            return ["model", "inputs"], [*section.get("options", {})]
        case "factory", False:
            return [], [*section.get("options", {})]
        case "quality", False:
            return ["call"], []
        case "inputs" | "schedule" | "targets", _:
            return ["batch_size"], []
        case "loss", _:
            return ["output", "batch"], []
        case _:
            return ["graph_module"], []


def _reference_faults(
    reference: str, by_position: list[str], by_name: list[str]
) -> Iterator[tuple[str | None, str]]:
    """Yield faults of a reference, each with the key at fault where it is another."""
    path, name = user_file(reference), reference.rpartition(":")[2]
    if not path.is_file():
        remedy = "start in the folder that it is relative to, or write the whole path"
        yield None, f"no file {path} in {Path.cwd()}; {remedy}"
        return
    try:
        source = _read_source(path.read_bytes())
    except SyntaxError as error:
        # An environment of its own may have a newer Python.
        if not path.with_suffix(ENVIRONMENT).is_file():
            line = f", line {error.lineno}" if error.lineno else ""
            yield None, f"{path}{line}: Python cannot read it: {error.msg}"
        return
    yield from ((None, fault) for fault in _hidden_neighbours(path, source))
    if source.may_have_more:
        return
    if name not in source.names:
        yield None, f"{path} has no function {name!r}{meant(name, source.functions)}"
    elif signature := source.signatures.get(name):
        for below, fault in _call_faults(name, signature, by_position, by_name):
            yield below, f"{name}() in {path} {fault}"


def _hidden_neighbours(path: Path, source: _Source) -> Iterator[str]:
    """Yield faults of files beside the user's whose names Python has a module of its own for.

    The folder comes last on ``sys.path``, so that no file of the user's becomes everybody's.
    """
    for module, name in source.taken:
        beside = path.with_name(f"{module}.py")
        if module not in sys.stdlib_module_names or beside == path or not beside.is_file():
            continue
        with contextlib.suppress(SyntaxError):
            if name in _read_source(beside.read_bytes()).names:
                yield (
                    f"{path} imports {name!r} from {module!r}, which is a module of Python's own:"
                    f" rename {beside}"
                )


def _call_faults(
    name: str, signature: inspect.Signature, by_position: Sequence[str], by_name: Sequence[str]
) -> Iterator[tuple[str | None, str]]:
    """Yield what of a call does not fit a signature."""
    parameters = signature.parameters.values()
    taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    # The first ones are filled by position already.
    taken = [name for name in taken if name not in list(signature.parameters)[: len(by_position)]]
    known = list(by_name)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [key for key in by_name if key in taken]
        for key in by_name:
            if key not in taken:
                yield f"options.{key}", f"takes no {key!r}{meant(key, taken)}"
    try:
        signature.bind(*by_position, **dict.fromkeys(known))
    except TypeError as error:
        call = ", ".join([*by_position, *(f"{key}=…" for key in known)])
        yield None, f"is called as {name}({call}): {error}"


@dataclass(frozen=True)
class _Source:
    """What a Python file says of its functions.

    `names` are all that is defined, imported or assigned at its top level, on any condition;
    `functions` the functions and classes at its top level; `taken` the modules and names of all
    that is imported ``from`` elsewhere; `signatures` those of functions and classes that are bound
    once and not decorated. Names may come from elsewhere: ``import *``, ``globals()``,
    ``__getattr__``.
    """

    names: frozenset[str]
    functions: tuple[str, ...]
    taken: tuple[tuple[str, str], ...]
    signatures: Mapping[str, inspect.Signature]
    may_have_more: bool


@cache
def _read_source(content: bytes) -> _Source:
    """Read a Python file without running it.

    Raises
    ------
    SyntaxError
        When it is no Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # Python tells them when the file is run
        try:
            text = importlib.util.decode_source(content)
            tree = ast.parse(text)
            compile(tree, "<file>", "exec")  # it finds more mistakes
        except ValueError as error:  # other bytes than its encoding has, or NUL
            raise SyntaxError(str(error)) from error
    bound = Counter(name for node in ast.walk(tree) for name in _bound(node))
    defined = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    once = {name: _signature(node) for name, node in defined.items() if bound[name] == 1}
    taken = tuple(
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    )
    of_file = {name for node in _top_level(tree) for name in _bound(node)}
    of_file |= {
        name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names
    }
    return _Source(
        names=frozenset(of_file),
        functions=tuple(sorted(defined)),
        taken=taken,
        signatures={name: found for name, found in once.items() if found is not None},
        may_have_more="__getattr__" in defined or _MAKES_NAMES.search(text) is not None,
    )


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a file runs itself, on any condition, but not what is in functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _top_level(child)


def _bound(node: ast.AST) -> list[str]:
    """Return the names to which a node gives a value."""
    match node:
        case ast.alias():
            return [node.asname or node.name.partition(".")[0]]
        case ast.Name(ctx=ast.Store() | ast.Del()):
            return [node.id]
        case ast.Global():
            return node.names
    name = getattr(node, "name", None)  # of a function, a class, an exception, a pattern
    return [name] if isinstance(name, str) else []


def _signature(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> inspect.Signature | None:
    """Return how a function or a class is called, None where its text alone does not tell."""
    if node.decorator_list:
        return None
    if isinstance(node, ast.ClassDef):
        made_by = [
            member
            for member in node.body
            if isinstance(member, ast.FunctionDef) and member.name in ("__init__", "__new__")
        ]
        if node.keywords or [member.name for member in made_by] != ["__init__"]:
            return None
        of_instance = _signature(made_by[0])
        if of_instance is None:
            return None
        return of_instance.replace(parameters=[*of_instance.parameters.values()][1:])
    # A function of the same parameters that runs nothing of the user's: it has other defaults, and
    # a lambda has no annotations.
    given = copy.copy(node.args)
    given.defaults = [ast.Constant(None) for _ in given.defaults]
    given.kw_defaults = [default and ast.Constant(None) for default in given.kw_defaults]
    alike = ast.fix_missing_locations(ast.Expression(ast.Lambda(given, ast.Constant(None))))
    return inspect.signature(eval(compile(alike, "<signature>", "eval")))  # noqa: S307 - no code


def _references(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of each reference in a section."""
    for key, value in options.items():
        several = isinstance(value, list)
        for position, member in enumerate(value if several else [value]):
            if isinstance(member, str) and re.match(REFERENCE, member):
                yield f"{key}[{position}]" if several else key, member
