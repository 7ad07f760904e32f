"""Time of each operator and span on the CPU, without what runs inside it."""

from __future__ import annotations

import pandas as pd

from torchmodes.profiling.chrome import Trace

ON_CPU = ("operator", "wrapper", "annotation", "communication", "data_loading")


def self_times(trace: Trace) -> pd.Series:
    """Return the own seconds of what runs on the CPU, by name, of all steps together.

    PyTorch's own table charges the time of compiled code to the Python function that calls it as
    soon as stacks are recorded, and then shows no Python functions; so it is added up here. An
    event that outlasts what it began in keeps all of its time: so do operators that an engine's own
    profiler tells in whole microseconds, one behind the other.
    """
    events = trace.in_steps(trace.of(*ON_CPU))
    events = events[~events["device"] & ~events["name"].str.startswith("ProfilerStep")]
    inside = dict.fromkeys(events.index, 0.0)
    for _, thread in events.groupby("thread", sort=False):
        ordered = thread.sort_values(["start", "end"], ascending=[True, False], kind="stable")
        open_until: list[tuple[float, int]] = []
        for index, start, end in zip(ordered.index, ordered["start"], ordered["end"], strict=True):
            while open_until and open_until[-1][0] <= start:
                open_until.pop()
            if open_until:
                inside[open_until[-1][1]] += end - start
            open_until.append((end, index))
    own = events["end"] - events["start"] - pd.Series(inside, dtype=float)
    return own.clip(lower=0).groupby(events["name"]).sum()
