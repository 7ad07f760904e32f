"""Compare the ceilings of this machine with plain matrix products and copies, in one run.

    python -m benchmarks.ceilings

The same work by three hands, in turns: `torchmodes.profiling.ceilings`, PyTorch's own timer, and
NumPy. The best of each counts, as for a ceiling. PyTorch and NumPy may bring different libraries of
linear algebra; the check is against PyTorch's, which is what the cases run on.
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

from torchmodes.devices import usable_cores
from torchmodes.profiling.ceilings import STREAM_BYTES, best_rate, gemm, gemm_rate, stream_rates

SIZE = 2048
ROUNDS = 3
TOLERANCE = 0.10


def best_numpy(call: Callable[[], object], work: float, *, repetitions: int = 5) -> float:
    """Return the work per second of the fastest of some calls."""
    call()
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return work / min(taken)


def best_timer(statement: str, names: dict[str, object], work: float, threads: int) -> float:
    """Return the work per second of PyTorch's timer."""
    timer = Timer(statement, globals=names, num_threads=threads)
    return work / min(timer.timeit(1).times[0] for _ in range(8))


def main() -> int:
    """Print the comparison; 1 when PyTorch's own figures are further away than 10 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores")
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    count = STREAM_BYTES["cpu"] // 4
    a, b, out = (torch.rand(SIZE, SIZE) for _ in range(3))
    x, y = torch.ones(count), torch.ones(count)
    operations, moved = 2.0 * SIZE**3, 2.0 * 4 * count
    found: dict[str, list[tuple[float, float, float]]] = {"GEMM fp32": [], "copy": []}
    for _ in range(ROUNDS):
        found["GEMM fp32"].append(
            (
                max(
                    gemm_rate("fp32", "cpu"),
                    best_rate(gemm("fp32", SIZE, "cpu"), operations, "cpu"),
                ),
                best_timer(
                    "torch.mm(a, b, out=out)", {"a": a, "b": b, "out": out}, operations, threads
                ),
                best_numpy(lambda: np.matmul(a.numpy(), b.numpy(), out=out.numpy()), operations),
            )
        )
        found["copy"].append(
            (
                stream_rates("cpu")[0],
                best_timer("y.copy_(x)", {"x": x, "y": y}, moved, threads),
                best_numpy(lambda: np.copyto(y.numpy(), x.numpy()), moved),
            )
        )
    table = Table(title=f"{threads} threads; best of {ROUNDS} rounds, in 10⁹ per second")
    for column in ("", "torchmodes", "PyTorch's timer", "NumPy", "torchmodes / PyTorch"):
        table.add_column(column)
    agreed = True
    for name, rounds in found.items():
        ours, timer, numpy = (max(rates) / 1e9 for rates in zip(*rounds, strict=True))
        agreed &= abs(ours / timer - 1) <= TOLERANCE
        table.add_row(name, f"{ours:.1f}", f"{timer:.1f}", f"{numpy:.1f}", f"{ours / timer:.3f}")
    Console().print(table)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
