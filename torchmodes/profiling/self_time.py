"""Time of each operator and span on the CPU, with and without what runs inside it."""

from __future__ import annotations

import pandas as pd

from torchmodes.profiling.chrome import Trace

ON_CPU = ("operator", "wrapper", "annotation", "communication", "data_loading")


def times_by_name(trace: Trace) -> pd.DataFrame:
    """Add up the times of what runs on the CPU within the steps, by name.

    PyTorch's own table charges the time of compiled code to the Python function that calls it as
    soon as stacks are recorded, and then shows no Python functions; so it is added up here.

    Returns
    -------
    pandas.DataFrame
        By name: ``self_s``, without operators and spans inside, and ``total_s``; seconds of all
        steps together.
    """
    events = trace.in_steps(trace.of(*ON_CPU))
    events = events[~events["device"] & ~events["name"].str.startswith("ProfilerStep")]
    seconds = events["end"] - events["start"]
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
    table = pd.DataFrame(
        {
            "name": events["name"],
            "self_s": (seconds - pd.Series(inside, dtype=float)).clip(lower=0),
            "total_s": seconds,
        }
    )
    return table.groupby("name").sum()
