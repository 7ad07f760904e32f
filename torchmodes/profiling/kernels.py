"""GPU kernels of a trace: the table, what launched them, and how long they waited for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from torchmodes.profiling.chrome import Trace
from torchmodes.profiling.files import KERNEL_COLUMNS
from torchmodes.profiling.intervals import length, subtract, union

_LAUNCHES = re.compile(r"^cu(?:da)?(?:Launch(?:Cooperative)?Kernel|GraphLaunch|LaunchHostFunc)")
_GRAPH_LAUNCH = re.compile(r"^cu(?:da)?GraphLaunch")
_TENSOR_CORES = re.compile(
    r"[hsi]\d*(884|1688|16816)(?!\d)|[hibw]g?mma(?!\w*ffma)|tensorop|_tensor\d+x\d+x\d+|^nvjet"
    r"|flash_(fwd|bwd)|fmha_cutlass|cudnn_generated_\w*sdpa",
    re.IGNORECASE,
)
"""How NVIDIA's libraries (cuBLAS, cuDNN, CUTLASS) name kernels of tensor-core instructions. A
Triton kernel does not tell by its name, so the share is a lower bound."""


@dataclass(frozen=True)
class Launches:
    """How kernels came to run; counts and times are per step.

    Attributes
    ----------
    launches, graph_launches, kernels
        Calls that start a kernel or a CUDA graph, of those CUDA graphs, and kernels that ran.
    mean_delay_s
        From the return of the launching call to the start of what it launched (not below 0, and
        for a graph of its first kernel); None where the trace joins no kernel to its launch.
    idle_s, gaps
        Time in which the GPU ran nothing, and in how many pieces.
    """

    launches: float
    graph_launches: float
    kernels: float
    mean_delay_s: float | None
    idle_s: float
    gaps: float


def uses_tensor_cores(name: str) -> bool:
    """Say by its name whether a kernel uses tensor cores."""
    return _TENSOR_CORES.search(name) is not None


def kernel_table(trace: Trace) -> pd.DataFrame:
    """Return one row per kernel, the largest total time first; no rows for a CPU trace.

    Columns: kernel; calls and total_s per step; mean_s, min_s, max_s per call; blocks_per_sm and
    occupancy (0 to 1), weighted by duration; tensor_cores; launch_delay_s (mean; see `Launches`).
    """
    kernels = _kernels(trace)
    if kernels.empty or not len(trace.steps):
        return pd.DataFrame(columns=list(KERNEL_COLUMNS))
    steps = len(trace.steps)
    rows = []
    for name, group in kernels.groupby("name", sort=False):
        seconds = group["end"] - group["start"]
        rows.append(
            (
                name,
                len(group) / steps,
                seconds.sum() / steps,
                *(seconds.mean(), seconds.min(), seconds.max()),
                weighted_mean(group["blocks_per_sm"], seconds),
                weighted_mean(group["occupancy"], seconds),
                uses_tensor_cores(str(name)),
                group["delay"].mean(),
            )
        )
    table = pd.DataFrame(rows, columns=list(KERNEL_COLUMNS))
    return table.sort_values("total_s", ascending=False, kind="stable", ignore_index=True)


def describe_launches(trace: Trace) -> Launches | None:
    """Count launches and gaps; None where nothing ran on a GPU."""
    if not trace.has_device or not len(trace.steps):
        return None
    steps = len(trace.steps)
    runtime = trace.in_steps(trace.of("runtime"))
    kernels = _kernels(trace)
    delays = kernels["delay"].dropna()
    on_device = trace.events[trace.events["device"]]
    inside = union(trace.steps[:, 0], trace.steps[:, 1])
    idle = subtract(inside, union(on_device["start"], on_device["end"]))
    return Launches(
        launches=int(runtime["name"].str.contains(_LAUNCHES).sum()) / steps,
        graph_launches=int(runtime["name"].str.contains(_GRAPH_LAUNCH).sum()) / steps,
        kernels=len(kernels) / steps,
        mean_delay_s=float(delays.mean()) if len(delays) else None,
        idle_s=length(idle) / steps,
        gaps=len(idle) / steps,
    )


def weighted_mean(values: pd.Series, weights: pd.Series) -> float:
    """Return the weighted mean of the values that are known; NaN where none is."""
    known = values.notna()
    total = weights[known].sum()
    return float((values[known] * weights[known]).sum() / total) if total > 0 else np.nan


def _kernels(trace: Trace) -> pd.DataFrame:
    """Return the kernels that start in a step, with the delay of each that a launch leads to."""
    kernels = trace.in_steps(trace.kernels)
    launches = trace.of("runtime")
    launches = launches[launches["name"].str.contains(_LAUNCHES)]
    returned = launches.dropna(subset=["correlation"]).set_index("correlation")["end"]
    returned = returned[~returned.index.duplicated()]
    delay = (kernels["start"] - kernels["correlation"].map(returned)).clip(lower=0)
    # All kernels of a CUDA graph share one launch; the later ones wait for each other instead.
    return kernels.assign(delay=delay.mask(kernels["correlation"].duplicated()))
