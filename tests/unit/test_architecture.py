"""ARCHITECTURE.md states who imports whom; here the import statements are asked."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
STATED = {
    part: set(re.findall(r"`(\w+)`", imported))
    for part, imported in re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE)
}
WITHOUT_TORCH = ["config", "planning", "results", "processes.jobs", "measure.benchmark", "report"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "torchmodes").rglob("*.py"))}


def statements(body: list[ast.stmt], *, at_import: bool) -> Iterator[ast.AST]:
    """Yield the import statements; `at_import`: those that run when the module is imported."""
    for statement in body:
        if (
            at_import
            and isinstance(statement, ast.If)
            and "TYPE_CHECKING" in ast.dump(statement.test)
        ):
            continue
        if at_import and isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in [statement] if at_import else ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node
        if at_import:
            for nested in ("body", "orelse", "handlers", "finalbody"):
                yield from statements(getattr(statement, nested, []), at_import=True)


@cache
def imports(module: str, *, at_import: bool) -> frozenset[str]:
    """Return what a module imports: modules of the package in full, others by their first name."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    named = []
    for node in statements(tree.body, at_import=at_import):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            named += [f"{node.module}.{alias.name}" for alias in node.names]
    found = set()
    for name in named:
        if not name.startswith("torchmodes"):
            found.add(name.partition(".")[0])
        elif name in MODULES:
            found.add(name)
        else:
            found.add(name.rpartition(".")[0])
    return frozenset(found - {module})


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_the_table_states_every_import_between_parts() -> None:
    actual: dict[str, set[str]] = {part(module): set() for module in MODULES if "." in module}
    for module in MODULES:
        for name in imports(module, at_import=False):
            if name in MODULES and "." in name and part(name) != part(module):
                actual[part(module)].add(part(name))
    rows = [
        f"| `{name}` | {', '.join(f'`{other}`' for other in sorted(imported))} |"
        for name, imported in sorted(actual.items())
        if STATED.get(name) != imported
    ]
    assert not rows, "ARCHITECTURE.md should say:\n" + "\n".join(rows)
    assert STATED.keys() == actual.keys()


def test_a_room_imports_from_those_below_it_alone() -> None:
    floors = list(STATED)  # the table begins at the ground
    upward = {
        (room, other)
        for room, others in STATED.items()
        for other in others
        if floors.index(other) > floors.index(room)
    }
    assert not upward


def test_models_and_modes_know_neither_each_other_nor_what_they_are_joined_to() -> None:
    kinds = {f"torchmodes.workloads.{kind}" for kind in ("models", "modes")}
    allowed = ("batches", "operators", "structures")
    for kind in kinds:
        for module in MODULES:
            if module.startswith(kind):
                others = [
                    name
                    for name in imports(module, at_import=False)
                    if name.startswith("torchmodes.workloads.") and not name.startswith(kind)
                ]
                assert all(name.split(".")[2] in allowed for name in others), (module, others)


def test_no_circle_of_modules() -> None:
    graph = {
        module: [name for name in imports(module, at_import=False) if name in MODULES]
        for module in MODULES
    }
    # A package and its own modules may name each other: `modes` lists its engines.
    for module, named in graph.items():
        graph[module] = [name for name in named if not module.startswith(f"{name}.")]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_the_workflow_itself_imports_needs_no_pytorch(name: str) -> None:
    reached, waiting = (
        set(),
        [
            module
            for module in MODULES
            if module == f"torchmodes.{name}" or module.startswith(f"torchmodes.{name}.")
        ],
    )
    assert waiting
    while waiting:
        module = waiting.pop()
        reached.add(module)
        imported = imports(module, at_import=True)
        assert "torch" not in imported, f"{module} imports torch, and torchmodes.{name} needs it"
        waiting += [other for other in imported if other in MODULES and other not in reached]


def test_no_name_of_a_class_stands_twice() -> None:
    times = Counter(
        node.name
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in times.items() if count > 1]
