"""Compare the ceilings of this machine with plain matrix products and copies, in one run.

    python -m benchmarks.ceilings

The ceilings (`torchmodes.machine.peaks`) are measured in turns with the same work by other
hands: PyTorch's own timer, and NumPy. The best of each counts, as for a ceiling. NumPy may bring
another library of linear algebra; the check is against PyTorch's timer, because PyTorch is what the
cases run on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.benchmark import Timer

from torchmodes.machine.devices import usable_cores
from torchmodes.machine.peaks import STREAM_BYTES, gemm_rate, stream_rates

SIZES = (1024, 2048)
ROUNDS = 12
SECONDS = 0.3
TOLERANCE = 0.10


def best_numpy(call: Callable[[], object], work: float) -> float:
    """Return the work per second of the fastest call within `SECONDS`."""
    taken: list[float] = []
    while sum(taken) < SECONDS:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return work / min(taken)


def best_timer(statement: str, names: dict[str, object], work: float, threads: int) -> float:
    """Return the work per second of the fastest call within `SECONDS`, by PyTorch's timer."""
    timer = Timer(statement, globals=names, num_threads=threads)
    taken: list[float] = []
    while sum(taken) < SECONDS:
        taken.append(timer.timeit(1).times[0])
    return work / min(taken)


def matrix_products(threads: int) -> tuple[float, float, float]:
    """Return operations per second: the ceiling, by PyTorch's timer, by NumPy."""
    timer, numpy = 0.0, 0.0
    for size in SIZES:
        a, b, out = (torch.rand(size, size) for _ in range(3))
        work = 2.0 * size**3
        names: dict[str, object] = {"torch": torch, "a": a, "b": b, "out": out}
        timer = max(timer, best_timer("torch.mm(a, b, out=out)", names, work, threads))
        x, y, z = a.numpy(), b.numpy(), out.numpy()
        numpy = max(numpy, best_numpy(lambda x=x, y=y, z=z: np.matmul(x, y, out=z), work))
    return gemm_rate("fp32", "cpu"), timer, numpy


def copies(threads: int) -> tuple[float, float, float]:
    """Return bytes per second: the ceiling, by PyTorch's timer, by NumPy."""
    x, y = (torch.ones(STREAM_BYTES["cpu"] // 4) for _ in range(2))
    work = 2.0 * STREAM_BYTES["cpu"]
    timer = best_timer("y.copy_(x)", {"x": x, "y": y}, work, threads)
    numpy = best_numpy(lambda: np.copyto(y.numpy(), x.numpy()), work)
    return stream_rates("cpu")[0], timer, numpy


def main() -> int:
    """Print the comparison; 1 when PyTorch's timer is further away than 10 %."""
    parser = argparse.ArgumentParser(description="Compare the ceilings with plain calls.")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores")
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    table = Table(title=f"{threads} threads; best of {ROUNDS} rounds, in 10⁹ per second")
    for column in ("", "torchmodes", "PyTorch's timer", "NumPy", "torchmodes / PyTorch"):
        table.add_column(column)
    agreed = True
    for name, measure in (("GEMM fp32", matrix_products), ("copy", copies)):
        rounds = [measure(threads) for _ in range(ROUNDS)]
        ours, timer, numpy = (max(rates) / 1e9 for rates in zip(*rounds, strict=True))
        agreed &= abs(ours / timer - 1) <= TOLERANCE
        table.add_row(name, f"{ours:.1f}", f"{timer:.1f}", f"{numpy:.1f}", f"{ours / timer:.3f}")
    Console().print(table)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
