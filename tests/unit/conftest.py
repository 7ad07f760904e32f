"""What several unit tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchmodes.workloads.operators import build_operators, load_operators


@pytest.fixture(scope="session")
def operators_library(request: pytest.FixtureRequest) -> Path:
    """The compiled custom operators, loaded; objects of an earlier test run are reused."""
    folder = Path(request.config.cache.mkdir("torchmodes_ops"))
    library = build_operators(output=folder / "torchmodes_ops.so", build_directory=folder / "build")
    load_operators(library)
    return library
