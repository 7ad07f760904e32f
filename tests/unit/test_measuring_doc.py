"""docs/measuring.md says nothing that no test pins."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks.calibration import coverage
from torchmodes.measure.numerics import LOSS_TOLERANCE, OUTPUT_TOLERANCE

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "measuring.md").read_text(encoding="utf-8")
FORMULAS = re.findall(r"```math\n(.*?)```\n\n([^\n]*)", PAGE, flags=re.DOTALL)


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def rows_under(head: str) -> list[list[str]]:
    """Return the cells of the table whose head starts so."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_formulas_are_found() -> None:
    assert len(FORMULAS) == PAGE.count("```math") >= 20


@pytest.mark.parametrize(("formula", "after"), FORMULAS)
def test_every_formula_names_a_test_that_exists(formula: str, after: str) -> None:
    named = re.fullmatch(r"pinned by `tests/unit/(\w+\.py)::(test_\w+)`", after)
    assert named, f"no test is named below: {formula}"
    assert named[2] in functions_in(HERE / named[1])


def test_every_other_test_that_is_named_exists() -> None:
    known = set().union(*(functions_in(path) for path in HERE.glob("test_*.py")))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= known


def test_the_tolerances_are_those_of_the_code() -> None:
    table = {row[0]: (float(row[1]), float(row[3])) for row in rows_under("| precision |")}
    assert table == {name: (OUTPUT_TOLERANCE[name], LOSS_TOLERANCE[name]) for name in table}
    assert set(table) == set(OUTPUT_TOLERANCE)


@pytest.mark.parametrize("noise", ["normal", "spikes", "exponential", "slow waves"])
def test_the_calibration_table_is_what_the_simulation_gives(noise: str) -> None:
    cells = {row[0]: row[1:] for row in rows_under("| noise |")}[noise]
    printed = float(cells[2].rstrip("%")) / 100  # the column of 10 blocks
    assert coverage(noise, blocks=10, repeats=4000, seed=10) == pytest.approx(printed, abs=0.006)
