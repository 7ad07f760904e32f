"""The notebook runs on a finished run, as a user would run it, and is stored without outputs."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from workflow.conftest import ROOT, Workflow

NAME = "notebooks/explore.ipynb"


def test_it_is_stored_without_outputs() -> None:
    notebook = nbformat.read(ROOT / NAME, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.workflow
def test_it_runs_on_a_finished_run(finished: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # Streamlit sets it in every process it is in
    notebook = nbformat.read(finished.folder / NAME, as_version=4)
    folder = finished.folder / "notebooks"
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    shown = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert shown.count("image/png") == 3
    assert shown.count("text/html") == 4  # tables
