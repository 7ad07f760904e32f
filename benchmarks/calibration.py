"""How often the 95 % interval holds the truth, by simulation: the table of docs/measuring.md.

``python -m benchmarks.calibration`` prints it. Each noise is a way in which blocks were
seen, or are feared, to scatter; its true centre is known, so coverage can be counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from torchmodes.measure.statistics import TRIM, effect
from torchmodes.measure.stopping import StoppingRule

Noise = Callable[[np.random.Generator, int], NDArray[np.float64]]


def spikes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return normal noise with every tenth block ten times as noisy: a neighbour wakes up."""
    return rng.normal(size=n) * np.where(rng.random(n) < 0.1, 10, 1)


def one_sided_spikes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return noise in which one side alone has rare slow calls."""
    slow = np.where(rng.random(n) < 0.15, rng.exponential(5, n), 0.0)
    return 0.3 * rng.normal(size=n) + slow


def two_levels(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return noise with a level for each order of the block, drawn as the sampler draws orders."""
    pairs = rng.permuted(np.tile([1.0, -1.0], (n // 2 + 1, 1)), axis=1)
    return 0.3 * rng.normal(size=n) + pairs.ravel()[:n]


def autoregressive(rho: float) -> Noise:
    """Return noise whose successive blocks correlate by rho."""

    def noise(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        innovations = rng.normal(size=n) * np.sqrt(1 - rho**2)
        innovations[0] /= np.sqrt(1 - rho**2)
        return np.asarray(lfilter([1.0], [1.0, -rho], innovations))

    return noise


def slow_waves(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return white noise on slow waves: a memory longer than first-order autoregression sees."""
    return rng.normal(size=n) + 0.5 * autoregressive(0.9)(rng, n)


NOISES: Mapping[str, Noise] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "Laplace": lambda rng, n: rng.laplace(size=n),
    "Student t, 2 df": lambda rng, n: rng.standard_t(2, size=n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(size=n),
    "spikes": spikes,
    "one-sided spikes": one_sided_spikes,
    "exponential": lambda rng, n: rng.exponential(size=n),
    "two levels": two_levels,
    "autoregressive 0.2": autoregressive(0.2),
    "autoregressive 0.5": autoregressive(0.5),
    "autoregressive 0.8": autoregressive(0.8),
    "slow waves": slow_waves,
}
SYMMETRIC = frozenset(NOISES) - {"one-sided spikes", "exponential"}


def true_centre(name: str) -> float:
    """Return the trimmed mean of the noise's whole distribution: what an interval should hold."""
    if name in SYMMETRIC:
        return 0.0
    population = np.sort(NOISES[name](np.random.default_rng(0), 2_000_000))
    cut = int(TRIM * population.size)
    return float(population[cut:-cut].mean())


def coverage(name: str, *, blocks: int, repeats: int, seed: int) -> float:
    """Return the share of `repeats` runs of fixed length whose interval holds the truth."""
    rng, truth = np.random.default_rng(seed), true_centre(name)
    return sum(_holds(NOISES[name](rng, blocks), truth) for _ in range(repeats)) / repeats


def stopped_coverage(name: str, *, scale: float, repeats: int, seed: int) -> tuple[float, int]:
    """Return the same for runs that stop by the sampler's rule at ± 1 %, and their median length.

    Parameters
    ----------
    name : str
        Of a noise in `NOISES`.
    scale : float
        What the noise is multiplied by: about the relative scatter of one block.
    repeats, seed : int
        Number of runs, and of the random stream.
    """
    rng, truth = np.random.default_rng(seed), true_centre(name) * scale
    held, lengths = 0, []
    for _ in range(repeats):
        ratios = NOISES[name](rng, 400) * scale
        stop = _stop(ratios, target=0.01)
        held += _holds(ratios[:stop], truth)
        lengths.append(stop)
    return held / repeats, int(np.median(lengths))


def _stop(ratios: NDArray[np.float64], *, target: float) -> int:
    rule = StoppingRule(target_half_width=target, min_quads=10)
    so_far: list[float] = []
    for ratio in ratios:
        so_far.append(float(ratio))
        if rule.enough(so_far):
            break
    return len(so_far)


def _holds(ratios: NDArray[np.float64], truth: float) -> bool:
    measured = effect(ratios)
    assert measured.low is not None
    assert measured.high is not None
    return measured.low <= truth <= measured.high


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4000)
    repeats = parser.parse_args().repeats
    lengths, scales = (3, 5, 10, 20, 40, 100, 400), (0.01, 0.02, 0.04)
    head = [f"n = {n}" for n in lengths] + [f"stopped, {scale:.0%}" for scale in scales]
    sys.stdout.write("| noise | " + " | ".join(head) + " |\n|---|" + "---|" * len(head) + "\n")
    for name in NOISES:
        row = [f"{coverage(name, blocks=n, repeats=repeats, seed=n):.1%}" for n in lengths]
        for scale in scales:
            share, length = stopped_coverage(name, scale=scale, repeats=repeats, seed=1)
            row.append(f"{share:.1%} ({length})")
        sys.stdout.write(f"| {name} | " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
