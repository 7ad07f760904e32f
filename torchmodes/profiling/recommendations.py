"""What a profile suggests to try: each finding with the figure and the threshold behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torchmodes.planning.cases import Case
from torchmodes.profiling.overview import Overview

LOADING_SHARE = 0.05
COPY_SHARE = 0.10
COMMUNICATION_SHARE = 0.10
UNCOVERED_SHARE = 0.20
UTILISATION = 0.50
SM_EFFICIENCY = 0.50
OCCUPANCY = 0.30
TENSOR_CORE_SHARE = 0.10
SHORT_KERNEL_S = 10e-6
MULTIPLYING_SHARE = 0.50
LOWER_PRECISIONS = {
    "bf16": {"avx512_bf16", "amx_bf16"},
    "int8": {"avx512_vnni", "avx_vnni", "amx_int8"},
}
"""Instruction sets of x86 processors that multiply a precision faster than fp32."""


@dataclass(frozen=True)
class Recommendation:
    """One thing to try: what was found, with the figure, the bound it crosses and the advice."""

    finding: str
    reason: str
    value: float
    threshold: float
    advice: str


def recommend(overview: Overview, *, uncovered: float | None = None) -> list[Recommendation]:
    """Return what to try, for a step as the overview of a trace describes it.

    `uncovered` is the share of a step in which neither an operator nor a kernel runs, where another
    trace tells it with less distortion.
    """
    return [*_of_the_step(overview, uncovered), *_of_the_device(overview)]


def recommend_on_cpu(
    case: Case, *, multiplying: float, isa: Collection[str], threads: int, cores: int
) -> list[Recommendation]:
    """Return what to try for a case on a CPU, by what the processor has.

    A precision is advised for inference in fp32. `multiplying` is the share of a step, from 0 to 1,
    that is convolutions, matrix products and attention; `isa` are the processor's instruction sets
    as Linux names them; `threads` compute on the `cores` that the case may use.
    """
    tried = []
    lower = [name for name, sets in LOWER_PRECISIONS.items() if sets.intersection(isa)]
    low = case.task == "inference" and case.precision == "fp32" and multiplying > MULTIPLYING_SHARE
    if low and lower:
        has = " and ".join(sorted(set(isa) & set().union(*(LOWER_PRECISIONS[n] for n in lower))))
        tried.append(
            Recommendation(
                "low precision",
                f"{_percent(multiplying)} of the step multiplies in fp32, and this processor has"
                f" {has}",
                *(multiplying, MULTIPLYING_SHARE),
                f"precisions: [{', '.join(lower)}] with OpenVINO"
                + (", or int8 with ONNX Runtime" if "int8" in lower else ""),
            )
        )
    if threads > cores:
        tried.append(
            Recommendation(
                "oversubscription",
                f"{threads} threads compute on {cores} cores",
                *(threads, cores),
                f"snakemake --cores {cores}: threads that wait for a core hold up the others",
            )
        )
    return tried


def _of_the_step(overview: Overview, uncovered: float | None) -> list[Recommendation]:
    if not overview.wall_s:
        return []
    copies = overview.share("memcpy") + overview.share("memset")
    if uncovered is None:
        uncovered = overview.uncovered_s / overview.wall_s
    bounds = (
        (
            *("data loading", overview.share("data_loading"), LOADING_SHARE),
            "of the step waits for data",
            "keep the data set on the device, or load it with more workers",
        ),
        (
            *("copies", copies, COPY_SHARE),
            "of the step is copies or fills of memory while no kernel runs",
            "pin host memory and copy with non_blocking=True, or keep tensors on the device",
        ),
        (
            *("communication", overview.share("communication"), COMMUNICATION_SHARE),
            "of the step is communication while no kernel runs",
            "overlap communication with the backward pass, or use larger buckets",
        ),
        (
            *("Python overhead", uncovered, UNCOVERED_SHARE),
            "of the step runs neither an operator nor a kernel",
            "a larger batch, torch.compile of the whole step, or CUDA graphs"
            if overview.device is not None
            else "a larger batch, or a mode without Python: compiled, ONNX Runtime, OpenVINO",
        ),
    )
    return [
        Recommendation(name, f"{_percent(value)} {what}", value, bound, advice)
        for name, value, bound, what, advice in bounds
        if value > bound
    ]


def _of_the_device(overview: Overview) -> list[Recommendation]:
    device, launches = overview.device, overview.launches
    if device is None or launches is None:
        return []
    bounds = (
        (
            *("GPU utilisation", device.utilisation, UTILISATION),
            "of the step has a kernel running",
            "CUDA graphs (mode: reduce-overhead), a larger batch, or a compiled mode",
        ),
        (
            *("SM efficiency", device.sm_efficiency, SM_EFFICIENCY),
            "of the multiprocessors' time has a block",
            "a larger batch: the kernels have too few blocks to fill the GPU",
        ),
        (
            *("occupancy", device.occupancy, OCCUPANCY),
            "of the warps that would fit are resident, by estimate",
            "max-autotune, which tries other block sizes; low occupancy alone may do no harm",
        ),
        (
            *("tensor cores", device.tensor_core_share, TENSOR_CORE_SHARE),
            "of the kernels' time is known to use tensor cores",
            "the precision tf32, bf16 or fp16, with sizes that are multiples of 8",
        ),
    )
    tried = [
        Recommendation(name, f"{_percent(value)} {what}", value, bound, advice)
        for name, value, bound, what, advice in bounds
        if value is not None and value < bound
    ]
    if launches.kernels:
        mean = device.utilisation * overview.wall_s / launches.kernels
        if mean < SHORT_KERNEL_S:
            tried.append(
                Recommendation(
                    "short kernels",
                    f"a kernel runs for {1e6 * mean:.1f} µs, about what its launch costs",
                    *(mean, SHORT_KERNEL_S),
                    "fuse them with torch.compile, or launch them together by CUDA graphs",
                )
            )
    return tried


def _percent(share: float) -> str:
    """Write a share; CUPTI's occupancy is rounded to whole per cents, and 0 only means less."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
