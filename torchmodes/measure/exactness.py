"""Is a mode less exact than eager? Both are compared with eager in fp64."""

from __future__ import annotations

import copy
from typing import Any

import torch

from torchmodes.measure.first_calls import WarmedUp
from torchmodes.measure.numerics import compare
from torchmodes.planning.job import Job
from torchmodes.processes.memory import own_memory
from torchmodes.results.reasons import reason_of
from torchmodes.results.records import Exactness
from torchmodes.workloads.structures import Inputs, copy_output

MOST_BYTES = 2**30
"""Of the parameters in fp64."""
LONGEST_EAGER_S = 0.2
"""Of a call in fp32: convolutions in fp64 have no fast kernels on a CPU and take ten times that."""


def exactness(
    job: Job, baseline: WarmedUp, candidate: WarmedUp, *, eager_s: float
) -> Exactness | None:
    """Run the eager model in fp64 on the example inputs, and measure both sides' errors against it.

    The errors are those of the first calls' outputs. None of a training and of a generation.
    """
    if baseline.sets is None or job.case.task == "generation":
        return None  # a generation is a step, and the model itself takes whole texts
    reason = _too_much(job, baseline, eager_s)
    if reason is not None:
        return Exactness(reason=reason)
    try:
        reference = _in_fp64(baseline, device=job.case.device)
    except Exception as error:  # noqa: BLE001 - a model may insist on its types in any way
        return Exactness(reason=f"its eager model does not run in fp64 ({reason_of(error)})")
    precision, align = job.case.precision, baseline.workload.built.align
    sides = [
        compare(reference, side.output, precision=precision, align=align).relative_l2
        for side in (baseline, candidate)
    ]
    if None in sides:
        return Exactness(reason="its output in fp64 cannot be compared")
    return Exactness(eager=sides[0], mode=sides[1])


def _too_much(job: Job, baseline: WarmedUp, eager_s: float) -> str | None:
    """Say why the model is not run in fp64, or return None."""
    needed = 2 * baseline.workload.built.parameter_bytes
    limit = job.measurement.memory_limit_mb
    if job.case.device == "mps":
        return "MPS has no fp64"
    if baseline.kept:
        return "the model keeps state that changes at every call"
    if needed > MOST_BYTES:
        return (
            f"its parameters take {needed / 1e9:.1f} GB in fp64, more than {MOST_BYTES / 1e9:.1f}"
        )
    if limit is not None and own_memory().resident_bytes + 2 * needed > limit * 10**6:
        return "measurement.memory_limit_mb leaves no room for it in fp64"
    if eager_s > LONGEST_EAGER_S:
        return f"a call of eager takes {eager_s:.3g} s, more than {LONGEST_EAGER_S} s"
    return None


def _in_fp64(baseline: WarmedUp, *, device: str) -> Any:
    """Return the output of a copy of the baseline's module in fp64, on the example inputs."""
    assert baseline.sets is not None
    module = copy.deepcopy(baseline.workload.built.module).double()

    def widened(tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.to(device, copy=True)
        return moved.double() if moved.is_floating_point() else moved

    inputs: Inputs = baseline.sets[0].map(widened)
    with torch.inference_mode():
        return copy_output(inputs.call(module))
