"""The functions in which Python spends its time, by cProfile.

Its cumulative share is not Python's overhead: a function that calls an operator is charged with
the operator. The honest figure is `torchmodes.profiling.overview.Overview.uncovered_s`.
"""

from __future__ import annotations

import cProfile
import pstats
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from torchmodes.profiling.files import PYTHON_COLUMNS

ROWS = 50
_LIBRARY = re.compile(r"^.*/(?:site-packages|python3\.\d+)/")


def python_functions(call: Callable[[], Any], *, calls: int) -> pd.DataFrame:
    """Run a call so often under cProfile, and return a row per function, largest own time first.

    The call returns once its work is done; times are seconds per call. Columns: function
    (``file:line name``, the file from its library on), calls, self_s (C functions that it calls
    have rows of their own), cumulative_s (all that it waits for, operators included).
    """
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        for _ in range(calls):
            call()
    finally:
        profiler.disable()
    statistics: Any = pstats.Stats(profiler)
    rows = [
        (_name(*where), count / calls, own / calls, cumulative / calls)
        for where, (_, count, own, cumulative, _) in statistics.stats.items()
        if where[2] != "<method 'disable' of '_lsprof.Profiler' objects>"
    ]
    table = pd.DataFrame(rows, columns=list(PYTHON_COLUMNS))
    table = table.sort_values("self_s", ascending=False, kind="stable", ignore_index=True)
    return table.head(ROWS)


def _name(file: str, line: int, function: str) -> str:
    return function if file == "~" else f"{_LIBRARY.sub('', file)}:{line} {function}"
