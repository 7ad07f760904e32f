"""The speed-up of a case from several runs, each a process of its own: the interval is over runs.

What differs from process to process (where memory and threads came to lie, what a compiler chose)
is alike for all blocks of one process, so no interval from within it can hold in the next. The unit
of inference is the run. Three runs alone tell little of their own variance; that of all cases of a
device together tells more, so each case's variance is shrunk towards theirs, the more so the more
alike they are (Smyth 2004, *Linear models and empirical Bayes methods for assessing differential
expression in microarray experiments*; the estimators are limma's ``fitFDist`` and ``squeezeVar``).
Nothing here needs PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import digamma, polygamma

from torchmodes.measure.statistics import Estimate

LEAST_VARIANCE_SHARE = 1e-5
"""Of the median variance: what a variance of zero counts as, whose logarithm there is not."""
LEVELS_APART = 2.0
"""Times the width of either level, and times two errors of a run, that two levels are apart."""


@dataclass(frozen=True)
class RunCentre:
    """What one run says of a speed-up: the trimmed mean of its blocks, a natural logarithm.

    It is positive where the mode is faster. The standard error is within the run, as if its blocks
    were independent: that they resemble each other is seen in how far runs are apart, and five
    blocks cannot tell of it.
    """

    log_speed_up: float
    standard_error: float


@dataclass(frozen=True)
class VariancePrior:
    """What the cases of a device have in common: the variance of a run's centre.

    Its degrees of freedom say how much that counts for a case, infinite where all cases vary alike;
    all cases together have no more than the most.
    """

    variance: float
    degrees_of_freedom: float
    most_degrees_of_freedom: float


def over_runs(runs: Sequence[RunCentre], prior: VariancePrior | None = None) -> Estimate:
    """Estimate a speed-up from runs: Student's t on their centres, its variance moderated.

    The moderated variance is (d₀s₀² + ds²) / (d₀ + d), on d₀ + d degrees of freedom (Smyth 2004,
    section 4), and never less than the runs' own blocks leave open. One run has no interval: it
    says nothing of the next. Without the prior of all cases of the device the interval is the plain
    one.
    """
    centre = sum(run.log_speed_up for run in runs) / len(runs)
    between = spread(runs)
    if between is None:
        return Estimate(centre)
    variance, degrees = between**2, len(runs) - 1.0
    if prior is not None:
        variance, degrees = _moderated(variance, degrees, prior)
    within = sum(run.standard_error**2 for run in runs) / len(runs)
    return Estimate(centre, math.sqrt(max(variance, within) / len(runs)), degrees)


def spread(runs: Sequence[RunCentre]) -> float | None:
    """Return the standard deviation between runs, of logarithms; None of one run."""
    if len(runs) < 2:
        return None
    return float(np.std([run.log_speed_up for run in runs], ddof=1))


def two_levels(runs: Sequence[RunCentre]) -> tuple[Sequence[float], Sequence[float]] | None:
    """Part runs into two levels, where they have them: logarithms, each level's in order.

    That is two or more runs on each side of a gap `LEVELS_APART` times as wide as either side is.
    """
    logs = sorted(run.log_speed_up for run in runs)
    _, cut = max(((b - a, at) for at, (a, b) in enumerate(pairwise(logs), 1)), default=(0.0, 0))
    lower, upper = logs[:cut], logs[cut:]
    if min(len(lower), len(upper)) < 2:
        return None
    error = float(np.median([run.standard_error for run in runs]))
    widest = max(lower[-1] - lower[0], upper[-1] - upper[0], 2 * error)
    return (lower, upper) if upper[0] - lower[-1] > LEVELS_APART * widest else None


def harness_bias(baselines: Iterable[Sequence[RunCentre]]) -> float | None:
    """Return the largest effect that measuring itself may have, from all A/A cases of a device.

    Eager against eager differs by nothing but the order of their making and what the harness does
    to one side alone, which is the same in all such cases. So their runs are taken together, and a
    case whose interval is wide by itself widens no other's margin. It is a logarithm: the bound of
    their mean's 95 % interval that is farther from zero; None where fewer than two runs tell it.
    """
    together = over_runs([run for runs in baselines for run in runs] or [RunCentre(0.0, 0.0)])
    if together.low is None or together.high is None:
        return None
    return max(abs(together.low), abs(together.high))


def _moderated(variance: float, degrees: float, prior: VariancePrior) -> tuple[float, float]:
    if math.isinf(prior.degrees_of_freedom):
        return prior.variance, prior.most_degrees_of_freedom
    total = prior.degrees_of_freedom + degrees
    moderated = (prior.degrees_of_freedom * prior.variance + degrees * variance) / total
    return moderated, min(total, prior.most_degrees_of_freedom)


def variance_prior(cases: Iterable[Sequence[RunCentre]]) -> VariancePrior | None:
    """Estimate what the variances between runs of many cases have in common.

    Their logarithms are matched with those of a scaled F distribution by mean and variance (Smyth
    2004, section 6.2). Cases of one run say nothing; None where fewer than two have several.
    """
    several = [[run.log_speed_up for run in runs] for runs in cases if len(runs) > 1]
    if len(several) < 2:
        return None
    degrees = np.array([len(centres) - 1.0 for centres in several])
    variances = np.array([np.var(centres, ddof=1) for centres in several])
    least = LEAST_VARIANCE_SHARE * float(np.median(variances))
    if least == 0:
        return None
    logs = np.log(np.maximum(variances, least)) - digamma(degrees / 2) + np.log(degrees / 2)
    mean = float(logs.mean())
    beyond_sampling = float(logs.var(ddof=1) - polygamma(1, degrees / 2).mean())
    most = float(degrees.sum())
    if beyond_sampling <= 0:
        return VariancePrior(math.exp(mean), math.inf, most)
    prior_degrees = 2 * inverse_trigamma(beyond_sampling)
    scale = math.exp(mean + float(digamma(prior_degrees / 2)) - math.log(prior_degrees / 2))
    return VariancePrior(scale, prior_degrees, most)


def inverse_trigamma(value: float) -> float:
    """Return where the trigamma function has a value, by Newton's method on its reciprocal.

    The value is positive. The reciprocal is convex and nearly linear, so that every step from
    0.5 + 1/value goes the same way (Smyth 2004, appendix).
    """
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    at = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, at))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, at))
        at += step
        if -step / at < 1e-8:
            break
    return at
