"""One step as it passes: which operator runs from when until when, and on what."""

from __future__ import annotations

import numpy as np
import pandas as pd

from torchmodes.profiling.chrome import Trace, short_name
from torchmodes.profiling.files import TIMELINE_COLUMNS
from torchmodes.profiling.stacks import open_stacks

STEP_ROW = "(step)"
"""The row that holds the whole step."""
_ON_CPU = ("operator", "communication", "data_loading")


def timeline(trace: Trace) -> pd.DataFrame:
    """Return the step of median length, one row per piece, by start.

    Columns: operator (the innermost that is open, by its short name; on a GPU the kernel, copy or
    fill), where (``cpu`` or ``gpu``), start_s and end_s, since the step's begin. The last row,
    `STEP_ROW`, is the step itself.
    """
    if not len(trace.steps):
        return pd.DataFrame(columns=list(TIMELINE_COLUMNS))
    lengths = trace.steps[:, 1] - trace.steps[:, 0]
    begin, end = trace.steps[np.argsort(lengths, kind="stable")[(len(lengths) - 1) // 2]]
    events = trace.events[(trace.events["start"] >= begin) & (trace.events["start"] < end)]
    rows = [
        (short_name(row.name), "gpu", row.start, row.end)
        for row in events[events["device"]].itertuples(index=False)
    ]
    on_cpu = events[events["kind"].isin(_ON_CPU) & ~events["device"]]
    for _, thread in on_cpu.groupby("thread", sort=True):
        rows += [(short_name(s[-1]), "cpu", start, stop) for s, start, stop in open_stacks(thread)]
    table = pd.DataFrame(rows, columns=list(TIMELINE_COLUMNS))
    table[["start_s", "end_s"]] = table[["start_s", "end_s"]].astype(float).clip(upper=end) - begin
    table = table.sort_values("start_s", kind="stable", ignore_index=True)
    table.loc[len(table)] = [STEP_ROW, "cpu", 0.0, end - begin]
    return table
