"""The peaks of this machine: FLOP/s in matrix products, and bytes per second in copies.

A peak is the best of many repetitions: whatever disturbs a repetition only makes it slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from torchmodes.machine.environment import describe_environment
from torchmodes.results.reasons import cause_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZES = {"cpu": (256, 512, 1024, 2048), "cuda": (4096, 8192), "mps": (2048, 4096)}
"""Rows and columns of the square matrices; the best of them counts."""
STREAM_BYTES = {"cpu": 2**28, "cuda": 2**30, "mps": 2**28}
"""Of each array, so that it is far larger than any cache."""
SECONDS = 0.2
"""Of repetitions per kernel and size."""
QUICK_SIZES = {"cpu": 1024, "cuda": 8192, "mps": 4096}
"""Of the one product that a quick look takes."""
QUICK_SECONDS = 0.05
PLAUSIBLE_RATE = 4.0
"""Times the rate of a matrix product that an honest model may seem to reach.

Operations are counted by shape, and Winograd's convolution F(4×4, 3×3) does a quarter of them.
A. Lavin, S. Gray: Fast algorithms for convolutional neural networks, CVPR 2016.
"""
LONGEST_CALL_S = 0.1
"""A matrix product that would take longer is measured at a smaller size only."""
LEAST_REPETITIONS = 3

Call = Callable[[], Any]


@dataclass(frozen=True)
class Peaks:
    """What one number of threads reaches.

    Attributes
    ----------
    threads
        On the host; on a GPU they do not matter.
    flops_per_s
        Floating-point operations of a square matrix product by precision; None where PyTorch has
        none here.
    copy_bytes_per_s, triad_bytes_per_s
        Bytes read and written per second by ``b = a`` and ``c = a + s b`` on arrays that no cache
        holds, counted as STREAM does: no write-allocate.
    faults
        Why a precision has no figure.
    """

    threads: int
    flops_per_s: dict[str, float | None]
    copy_bytes_per_s: float
    triad_bytes_per_s: float
    faults: dict[str, str]


def measure_machine(argument: dict[str, Any]) -> dict[str, Any]:
    """Measure the peaks of a ``device`` with some ``threads``: what a process of its own does."""
    device, threads = argument["device"], argument["threads"]
    if not torch.get_device_module(device).is_available():
        return {
            "status": "unsupported",
            "reason": f"PyTorch sees no {device.upper()} device",
            "remedy": f"run on a machine with {device}, or take it out of profile.cases",
        }
    counts = sorted({1, threads}) if device == "cpu" else [threads]
    return {
        "status": "ok",
        "device": device,
        "ceilings": [asdict(measure_peaks(device, threads=count)) for count in counts],
        "environment": describe_environment(),
    }


def measure_peaks(device: str, *, threads: int) -> Peaks:
    """Measure what a device reaches with some host threads; it sets them for this process."""
    torch.set_num_threads(threads)
    rates: dict[str, float | None] = {}
    faults = {}
    precisions = [*DTYPES, "int8", *(["tf32", "fp8"] if device == "cuda" else [])]
    for precision in precisions:
        try:
            with _tf32(allowed=precision == "tf32"):
                rates[precision] = gemm_rate(precision, device)
        except (RuntimeError, NotImplementedError) as error:  # PyTorch's way of saying it has none
            rates[precision], faults[precision] = None, cause_of(error)
    copy, triad = stream_rates(device)
    return Peaks(threads, rates, copy, triad, faults)


def gemm_rate(precision: str, device: str) -> float:
    """Return the operations per second of the best square matrix product."""
    best, reached = 0.0, None
    for size in SIZES[device]:
        operations = 2 * size**3
        if reached is not None and operations / reached > LONGEST_CALL_S:
            break
        reached = best_rate(gemm(precision, size, device), operations, device)
        best = max(best, reached)
    return best


def quick_peak(precision: str, device: str) -> float | None:
    """Return the operations per second of one square matrix product, in a tenth of a second.

    Of fp32, where that is faster than the precision; None where PyTorch has no such product here.
    """
    size = QUICK_SIZES[device]
    rates = []
    for name in {precision, "fp32"}:
        try:
            with _tf32(allowed=name == "tf32"):
                call = gemm(name, size, device)
                rates.append(best_rate(call, 2 * size**3, device, seconds=QUICK_SECONDS))
        except (RuntimeError, NotImplementedError):  # PyTorch's way of saying it has none
            return None
    return max(rates)


def gemm(precision: str, size: int, device: str) -> Call:
    """Return a call that multiplies two square matrices."""
    if precision == "int8":
        a, b = (
            torch.randint(-100, 100, (size, size), dtype=torch.int8, device=device)
            for _ in range(2)
        )
        if device == "cuda":
            b = b.t()  # by columns, as cuBLAS' int8 kernels prefer it
        return lambda: torch._int_mm(a, b)
    if precision == "fp8":
        a, b = (torch.rand(size, size, device=device).to(torch.float8_e4m3fn) for _ in range(2))
        b = b.t()  # by columns, as its kernels demand
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(
            *(a, b, one, one), out_dtype=torch.bfloat16, use_fast_accum=True
        )
    dtype = DTYPES.get(precision, torch.float32)
    a, b, out = (torch.rand(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


def stream_rates(device: str) -> tuple[float, float]:
    """Return the bytes per second of a copy and of a triad."""
    count = STREAM_BYTES[device] // 4
    a, b, c = (torch.ones(count, device=device) for _ in range(3))
    copied, summed = 2 * 4 * count, 3 * 4 * count
    return (
        best_rate(lambda: b.copy_(a), copied, device),
        best_rate(lambda: torch.add(a, b, alpha=3.0, out=c), summed, device),
    )


def best_rate(
    call: Call,
    work: float,
    device: str,
    *,
    seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Repeat a call, and return its work per second of the fastest repetition.

    Work is operations or bytes. A first call is not timed. It is repeated for some seconds (None:
    `SECONDS`), at the least `LEAST_REPETITIONS` times.
    """
    seconds = SECONDS if seconds is None else seconds
    call()
    _synchronize(device)
    taken: list[float] = []
    while len(taken) < LEAST_REPETITIONS or sum(taken) < seconds:
        start = clock()
        call()
        _synchronize(device)
        taken.append(clock() - start)
    return work / min(taken)


@contextmanager
def _tf32(*, allowed: bool) -> Generator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()
