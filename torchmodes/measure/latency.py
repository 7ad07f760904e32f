"""Latencies of one side, and the machine's drift: figures that describe, and do not compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from torchmodes.results.records import Latency

DRIFT_THRESHOLD = 0.05
"""A change of the baseline over the run that is worth a warning: 5 %."""
SLOWED_FACTOR = 1.25
"""How far above the others of its group a case's baseline is on a slowed machine."""
TWO_SPEEDS_FACTOR = 4.0
_DRIFT_POINTS = 50
_DRIFT_SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class Drift:
    """How the baseline's own time changed while the case was measured.

    `change` is relative, from the beginning to the end of the run; None with fewer than three
    blocks. It is `drifting` where that is significant (p < 0.01) and larger than 5 %.
    """

    change: float | None
    drifting: bool


def latency(samples_s: ArrayLike, *, calls_per_sample: int = 1) -> Latency:
    """Summarise one side's samples (seconds per call, of any shape), none left out.

    With more than one call to a sample the tails of the single calls are averaged away: p90 and
    above are then None.
    """
    samples = np.asarray(samples_s, dtype=np.float64).ravel()
    p90, p95, p99 = (
        float(np.quantile(samples, q))
        if calls_per_sample == 1 and _supports(samples.size, q)
        else None
        for q in (0.9, 0.95, 0.99)
    )
    median = float(np.median(samples))
    return Latency(
        n=samples.size,
        median_s=median,
        mean_s=float(samples.mean()),
        min_s=float(samples.min()),
        max_s=float(samples.max()),
        standard_deviation_s=float(samples.std(ddof=1)) if samples.size > 1 else 0.0,
        p50_s=median,
        p90_s=p90,
        p95_s=p95,
        p99_s=p99,
    )


def _supports(n: int, quantile: float) -> bool:
    """Tell whether five samples or more are expected beyond the quantile."""
    return n * (1 - quantile) >= 5 - 1e-9


def drift(baseline_s: ArrayLike, at_s: Sequence[float]) -> Drift:
    """Tell how the baseline's own time, shape (blocks, 2), changed over the run.

    The slope is Theil and Sen's (the median of all slopes between two points), its significance is
    Mann and Kendall's; both shrug off outliers. Long runs are first reduced to 50 medians.
    """
    level = np.log(np.asarray(baseline_s, dtype=np.float64)).mean(axis=1)
    began = np.asarray(at_s, dtype=np.float64)
    if level.size < 3 or began[-1] <= began[0]:
        return Drift(change=None, drifting=False)
    points = min(_DRIFT_POINTS, level.size)
    y = np.array([np.median(part) for part in np.array_split(level, points)])
    x = np.array([np.median(part) for part in np.array_split(began, points)])
    earlier, later = np.triu_indices(points, k=1)
    rise, run = y[later] - y[earlier], x[later] - x[earlier]
    slope = float(np.median(rise[run > 0] / run[run > 0]))
    change = math.expm1(slope * (began[-1] - began[0]))
    concordance = abs(float(np.sign(rise).sum()))
    spread = math.sqrt(points * (points - 1) * (2 * points + 5) / 18)
    chance = 2 * float(ndtr(-max(0.0, concordance - 1) / spread))
    return Drift(
        change=change,
        drifting=chance < _DRIFT_SIGNIFICANCE and abs(math.log1p(change)) > DRIFT_THRESHOLD,
    )


def slowed_by(medians_s: Sequence[float]) -> tuple[float | None, ...]:
    """Return how many times as long the baseline took in each case as in the others of its group.

    Every case of a group measures the same baseline, so the medians of those are comparable. Each
    is compared with the median of all others; of two in the middle the lower is the unslowed one.
    None where it is no more than `SLOWED_FACTOR`, and for a case without others.
    """
    factors: list[float | None] = []
    for index, own in enumerate(medians_s):
        others = [*medians_s[:index], *medians_s[index + 1 :]]
        factor = own / median_low(others) if others else 1.0
        factors.append(factor if factor > SLOWED_FACTOR else None)
    return tuple(factors)


def two_speeds(side: Latency) -> float | None:
    """Return how many times the typical call takes the fastest, where that is too many.

    Samples of one model on one machine cluster near their minimum. Where most lie at a multiple of
    it, something else than the model decides how long a call takes.
    """
    factor = side.median_s / side.min_s
    return factor if factor > TWO_SPEEDS_FACTOR else None
