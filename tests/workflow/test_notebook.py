"""The notebook runs on a finished run, as a user would run it, and is stored with its outputs."""

from __future__ import annotations

from collections import Counter

import nbformat
import pytest
from workflow.conftest import ROOT, Workflow

from tools.notebook import execute

NAME = "notebooks/explore.ipynb"
FIGURES, TABLES = 3, 4
LARGEST = 300_000
"""Bytes: small enough for a repository, and for a code host to show it."""


def shown(notebook: nbformat.NotebookNode) -> Counter[str]:
    """Count the kinds of what its cells show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    return Counter(kind for output in outputs for kind in output.get("data", {}))


def test_it_is_stored_with_its_figures_and_tables_and_small() -> None:
    notebook = nbformat.read(ROOT / NAME, as_version=4)
    nbformat.validate(notebook)
    assert (shown(notebook)["image/png"], shown(notebook)["text/html"]) == (FIGURES, TABLES)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert (ROOT / NAME).stat().st_size < LARGEST
    assert str(ROOT) not in (ROOT / NAME).read_text(encoding="utf-8"), "no path of a machine"


@pytest.mark.workflow
def test_it_runs_on_a_finished_run(finished: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # Streamlit sets it in every process it is in
    notebook = nbformat.read(finished.folder / NAME, as_version=4)
    execute(notebook, folder=finished.folder / "notebooks")
    assert (shown(notebook)["image/png"], shown(notebook)["text/html"]) == (FIGURES, TABLES)
