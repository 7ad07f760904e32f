"""The notebook executed on the results of a finished run, so that a code host shows its figures.

python -m tools.notebook
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks/explore.ipynb"
TIME_LIMIT_S = 120


def execute(notebook: nbformat.NotebookNode, *, folder: Path) -> None:
    """Execute a notebook in place; when its cells ran is forgotten, so that equal runs are equal.

    Parameters
    ----------
    notebook
        Its outputs are replaced.
    folder
        Where it starts.
    """
    NotebookClient(
        notebook,
        timeout=TIME_LIMIT_S,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def main() -> None:
    """Execute the notebook and write it with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    execute(notebook, folder=NOTEBOOK.parent)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
