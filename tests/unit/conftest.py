"""What several unit tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchmodes.workloads.operators.build import build_operators
from torchmodes.workloads.operators.load import load_operators


@pytest.fixture(scope="session")
def operators_library(request: pytest.FixtureRequest, shared_folder: Path) -> Path:
    """The compiled custom operators, loaded: those of the smoke run, if it has been made.

    Otherwise objects of an earlier test run are reused.
    """
    finished = shared_folder / "finished" / "torch modes" / "results" / "operators"
    if (finished / "build.json").exists():  # it is written last
        load_operators(finished / "torchmodes_ops.so")
        return finished / "torchmodes_ops.so"
    folder = Path(request.config.cache.mkdir("torchmodes_ops"))
    library = folder / "torchmodes_ops.so"
    build_operators(output=library, build_directory=folder / "build")
    load_operators(library)
    return library
