"""Build the operators for the workflow: its job succeeds also where they cannot be built.

A machine without a compiler still measures every other mode; those that need the operators are
recorded as ``unsupported``.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from torchmodes.results.writing import encodable
from torchmodes.workloads.operators.build import MissingCompiler, build_operators


def build(*, library: Path, report: Path) -> dict[str, Any]:
    """Build the library, or leave an empty file in its place, and write how it went.

    Parameters
    ----------
    library, report
        Paths to write: the shared library, and JSON with ``status`` (``ok`` or ``unsupported``),
        ``reason``, ``remedy`` and ``seconds``.
    """
    start = time.perf_counter()
    told: dict[str, Any] = {"status": "ok", "reason": None, "remedy": None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            build_operators(output=library, build_directory=Path(folder))
    except MissingCompiler as error:
        library.touch()
        told = {
            "status": "unsupported",
            "reason": encodable(str(error)),
            "remedy": "install a C++ compiler and run snakemake again"
            f" (Apple's: delete {library} first)",
        }
    told["seconds"] = round(time.perf_counter() - start, 3)
    report.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told
