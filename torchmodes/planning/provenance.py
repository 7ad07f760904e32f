"""The code that made a result: digests by which Snakemake notices that it has changed.

Snakemake re-runs a job when its script or its parameters change, but it does not see what the
script imports. A digest of those modules, passed as a parameter, closes the gap: editing the
sampler measures again, editing a plot does not.
"""

from __future__ import annotations

import ast
import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "torchmodes"
ROOT = Path(__file__).parents[2]
CUDA_TOOLKIT = (
    "bin/nvcc",
    *("include/cuda.h", "include/cuda_runtime.h", "include/cuda_runtime_api.h"),
    "include/crt/host_defines.h",
)
"""What is asked of a CUDA toolkit, by the custom operators or by AOTInductor."""


def code_digest(script: str, *modules: str, files: Iterable[Path] = ()) -> str:
    """Digest everything of this project that a script runs through, into 16 hexadecimal digits.

    The script is a path below the project's root; the modules are those that it chooses by name at
    run time (engines, model families), which no import shows; the files are the user's own, whose
    neighbours that they import count as well.
    """
    reached: set[Path] = set()
    for source in [ROOT / script, *map(_module_file, modules)]:
        _reach(source, reached)
    digest = hashlib.sha256()
    own: dict[Path, None] = {}
    for file in files:
        _reach_neighbours(file, own)
    for source in [*sorted(reached), *own]:
        digest.update(source.read_bytes() if source.exists() else b"missing")
    return digest.hexdigest()[:16]


def installed(*packages: str) -> dict[str, str | None]:
    """Return the version of each distribution; None where it is not installed.

    What is missing belongs there too: a case that was ``unsupported`` for the want of a package is
    measured once the package is installed.
    """
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def folder_state(folder: Path | None) -> list[tuple[str, int, int]]:
    """Tell the state of the folder that a model's weights come from; new ones make results stale.

    It reads no file, for the workflow asks it at every start: name, bytes and time of change (ns)
    of each file directly in it.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def compilers(variables: Mapping[str, str], *, cuda: bool) -> dict[str, list[str]]:
    """Name the compilers and headers that PyTorch would find; none is run.

    Names and no paths: on another node of a cluster the same compiler may lie elsewhere. The
    variables are ``PATH``, and ``CXX``, ``CC`` and ``CUDA_HOME`` where they are set. With `cuda`,
    what Triton and nvcc need counts, too.
    """
    usual = "clang++" if sys.platform == "darwin" else "g++"
    found = {"CXX": _commands(variables, "CXX", "c++", usual)}
    if cuda:
        headers = Path(sysconfig.get_config_var("INCLUDEPY") or "")
        toolkit = _cuda_home(variables)
        found |= {
            "CC": _commands(variables, "CC", "gcc", "clang"),
            "Python": ["Python.h"] if (headers / "Python.h").is_file() else [],
            "CUDA": [name for name in CUDA_TOOLKIT if (toolkit / name).is_file()],
        }
    return found


def _commands(variables: Mapping[str, str], variable: str, *usual: str) -> list[str]:
    """Return the command that a variable gives, or else the usual ones, of those that are there."""
    commands = [variables[variable]] if variable in variables else usual
    return [
        " ".join(Path(word).name for word in command.split())
        for command in commands
        if command and shutil.which(command.split()[0], path=variables.get("PATH"))
    ]


def _cuda_home(variables: Mapping[str, str]) -> Path:
    """Return the folder in which PyTorch looks for a CUDA toolkit."""
    if home := variables.get("CUDA_HOME") or variables.get("CUDA_PATH"):
        return Path(home)
    nvcc = shutil.which("nvcc", path=variables.get("PATH"))
    return Path(nvcc).parents[1] if nvcc else Path("/usr/local/cuda")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reach(source: Path, reached: set[Path]) -> None:
    if source in reached:
        return
    reached.add(source)
    for imported in _imports(source):
        _reach(imported, reached)


def _reach_neighbours(source: Path, reached: dict[Path, None]) -> None:
    """Collect a user's file and, recursively, the files beside it that it imports, in order."""
    if source in reached:
        return
    reached[source] = None
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError):
        return  # its case will fail and say so
    names = {name.partition(".")[0] for node in ast.walk(tree) for name in _named(node)}
    for name in sorted(names - {PACKAGE}):
        package = source.parent / name
        for file in [source.parent / f"{name}.py", *sorted(package.rglob("*.py"))]:
            if file.is_file():
                _reach_neighbours(file, reached)


@cache
def _imports(source: Path) -> tuple[Path, ...]:
    """Return the project's files that a file imports, at its top or inside a function."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return tuple(file for node in _statements(tree) for file in _targets(node))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement, however deep: an import is one, so no expression need be looked at."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in _BLOCKS:
            pending += getattr(node, block, ())


def _named(node: ast.AST) -> list[str]:
    """Return the modules that a node may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _targets(node: ast.AST) -> Iterator[Path]:
    for name in _named(node):
        if name.split(".")[0] == PACKAGE and (file := _module_file(name)).exists():
            yield file


def _module_file(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
