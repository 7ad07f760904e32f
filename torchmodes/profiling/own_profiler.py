"""Operators from an engine's own profiler: put into PyTorch's trace, and summed by layer."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from torchmodes.profiling.chrome import ENGINE_THREAD, STEP
from torchmodes.profiling.layers import LayerTime, layer_table
from torchmodes.workloads.modes.base import ExecutedCall, ExecutedOperator, OwnProfiler
from torchmodes.workloads.workload import Workload

WARMUP_CALLS = 3
"""Of what the engine opens for its profiler: its first call fetches memory."""


def under_own_profiler(workload: Workload) -> tuple[Workload, OwnProfiler | None]:
    """Return a workload that is called under its engine's own profiler, where there is one."""
    own = workload.engine.own_profiler() if workload.decoding is None else None
    if own is None:
        return workload, None
    call = partial(own.function, *workload.inputs.args, **workload.inputs.kwargs)
    for _ in range(WARMUP_CALLS):
        call()
    return replace(workload, call=call, function=own.function), own


def add_to_trace(path: Path, own: OwnProfiler) -> list[ExecutedCall]:
    """Write an engine's operators into PyTorch's trace, on a thread of their own.

    Returns
    -------
    list
        The calls that were made in the trace's steps, or after its first event where it has none.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    events, base_ns = content["traceEvents"], content.get("baseTimeNanoseconds", 0)
    steps = [e for e in events if e.get("ph") == "X" and STEP.match(e["name"])]
    begin = min((step["ts"] for step in steps), default=0.0)
    inside = [call for call in own.finish() if (call.began_ns - base_ns) / 1e3 >= begin]
    pid = steps[0]["pid"] if steps else 0
    place = {"pid": pid, "tid": ENGINE_THREAD}
    named = {"name": "thread_name", "ph": "M", **place, "args": {"name": own.name}}
    events += [named, *_events(inside, place, base_ns)]
    with opened(path, "wt", encoding="utf-8") as file:
        json.dump(content, file)
    return inside


def _events(
    calls: Sequence[ExecutedCall], place: Mapping[str, int], base_ns: int
) -> Iterator[dict[str, Any]]:
    for call in calls:
        began_us = (call.began_ns - base_ns) / 1e3
        for operator in call.operators:
            yield {
                "ph": "X",
                "cat": "cpu_op",
                "name": operator.kind,
                **place,
                "ts": began_us + 1e6 * operator.start_s,
                "dur": 1e6 * operator.seconds,
                "args": {"node": operator.name, "layer": operator.layer or ""},
            }


def layers_of_calls(
    calls: Sequence[Sequence[ExecutedOperator]], module: nn.Module, flops: Mapping[str, int | None]
) -> pd.DataFrame:
    """Return the `layer_table` of the modules whose operators tell that they come from them.

    Calls count operators. What tells no module is in none, so that the model itself holds less than
    the call.
    """
    own: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for call in calls:
        for operator in call:
            if operator.layer is not None:
                own[operator.layer] += operator.seconds
                counts[operator.layer] += 1
    times: dict[str, LayerTime] = {}
    for name, part in module.named_modules():
        held = [layer for layer in own if _holds(name, layer)]
        # Lists of modules are never called.
        if held and not isinstance(part, nn.ModuleList | nn.ModuleDict):
            total_s = sum(own[layer] for layer in held)
            times[name] = LayerTime(len(times), counts.get(name, 0), total_s, own.get(name, 0.0))
    return layer_table(module, times, calls=len(calls), flops=flops)


def share_with_layer(calls: Sequence[Sequence[ExecutedOperator]]) -> float:
    """Return the share of the operators' time that tells its module, from 0 to 1."""
    operators = [operator for call in calls for operator in call]
    whole = sum(operator.seconds for operator in operators)
    told = sum(operator.seconds for operator in operators if operator.layer is not None)
    return told / whole if whole else 0.0


def _holds(module: str, layer: str) -> bool:
    """Say whether a layer is a module or lies in it."""
    return not module or layer == module or layer.startswith(f"{module}.")
