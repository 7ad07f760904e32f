"""Is a mode as good as eager on the user's data? Scores of the same examples, compared in pairs.

A small error of the output says nothing about accuracy, and a large one need not cost any. Where a
model's section names a function that scores examples (``quality``), both sides are scored in one
process. A mode is no worse when the 95 % interval of the mean difference lies above minus the
margin, and worse when it lies below: a non-inferiority test, as of G. Piaggio et al., Reporting of
noninferiority and equivalence randomized trials, JAMA 308, 2012.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from torchmodes.measure.first_calls import WarmedUp
from torchmodes.measure.statistics import CONFIDENCE
from torchmodes.planning.job import Job
from torchmodes.results.records import Numerics, Quality, QualityVerdict
from torchmodes.workloads.models.evaluation import EvaluationFault, in_batches, margin_of, scores_of

FEWEST_EXAMPLES = 10
"""Of which graded scores decide anything: equal differences of fewer would have no spread."""
MOST_EXAMPLES = 10**9
"""More are not asked for: the difference is where the margin is."""
TRY_IT = (
    "fix the function and try it with `make check`, or take `quality` out of the model's section"
)
JUDGED_BY_DATA = ("int8", "int4", "fp8")
"""Precisions whose error follows from the weights' and activations' outliers: no constant bounds
it, and an embedding that is 12 % off may sort sentences as well."""
REACH = 2.0
"""How many times as far as the scored output a later one may be off."""
Bounds = tuple[float, float]


def score_interval(better: float, worse: float, examples: float) -> Bounds:
    """Return the 95 % interval of a difference of two accuracies on the same examples.

    T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17, 1998: the differences that a score test does
    not reject. It holds where few or no examples differ, as Wald's does not; M. Fagerland, S.
    Lydersen, P. Laake recommend it (Statistics in Medicine 33, 2014).

    `better` are those that the candidate alone has right, `worse` those that the baseline alone
    has; all may be fractions, of a sample that is thought of.
    """
    z = float(ndtri((1 + CONFIDENCE) / 2))
    estimate = (better - worse) / examples

    def statistic(difference: float) -> float:
        return _score(better, worse, examples, difference)

    # The score falls from infinity at -1 to minus infinity at 1, and is 0 at the estimate.
    low = brentq(lambda d: statistic(d) - z, -1.0, estimate) if estimate > -1 else -1.0
    high = brentq(lambda d: statistic(d) + z, estimate, 1.0) if estimate < 1 else 1.0
    return float(low), float(high)


def _score(better: float, worse: float, examples: float, difference: float) -> float:
    """Return Tango's statistic: how far the counts are from what a true difference predicts."""
    excess = better - worse - examples * difference
    if excess == 0:
        return 0.0
    # The likeliest share of examples that the baseline alone has right, given the difference.
    a = 2 * examples
    b = -better - worse + (2 * examples - better + worse) * difference
    c = -worse * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = examples * (2 * share + difference * (1 - difference))
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)


def mean_interval(mean: float, spread: float, examples: float) -> Bounds:
    """Return Student's 95 % interval of a mean difference of two or more scores."""
    reach = float(stdtrit(examples - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(examples)
    return mean - reach, mean + reach


def judge(
    baseline: NDArray[np.float64], candidate: NDArray[np.float64], *, margin: float
) -> Quality:
    """Compare the scores of both sides, shape (examples,), example by example.

    Larger is better; where all are 0 or 1 they are right and wrong answers. `margin` is the loss of
    the mean score that is acceptable.
    """
    differences = candidate - baseline
    count, mean = differences.size, float(differences.mean())
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    binary = bool(np.isin(np.concatenate([baseline, candidate]), (0.0, 1.0)).all())

    def bounds(examples: float) -> Bounds:
        """Return the interval of so many examples like these."""
        if binary:
            part = examples / count
            return score_interval(better * part, worse * part, examples)
        if examples < FEWEST_EXAMPLES:
            return -math.inf, math.inf
        return mean_interval(mean, float(differences.std(ddof=1)), examples)

    low, high = bounds(count)
    verdict = _verdict(low, high, margin)
    return Quality(
        verdict=verdict,
        kind="right or wrong" if binary else "score",
        examples=count,
        baseline=float(baseline.mean()),
        candidate=float(candidate.mean()),
        difference=mean,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        margin=margin,
        better=better,
        worse=worse,
        examples_needed=_needed(bounds, count, margin) if verdict == "unresolved" else None,
    )


def _verdict(low: float, high: float, margin: float) -> QualityVerdict:
    if low > -margin:
        return "no worse"
    return "worse" if high < -margin else "unresolved"


def _needed(bounds: Callable[[float], Bounds], count: int, margin: float) -> int | None:
    """Return how many examples like these would decide; None where no number would."""

    def decided(examples: int) -> bool:
        return _verdict(*bounds(examples), margin) != "unresolved"

    few, many = count, 2 * count
    while not decided(many):
        few, many = many, 2 * many
        if many > MOST_EXAMPLES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decided(middle) else (middle, many)
    return many


def quality(job: Job, baseline: WarmedUp, candidate: WarmedUp) -> Quality | None:
    """Let the user's function score both sides of a case; None where there is none.

    Raises
    ------
    EvaluationFault
        When it scores one of them not at all, or both not on the same examples.
    """
    reference = job.model.get("quality")
    if reference is None or job.case.task != "inference":
        return None
    began = time.monotonic()
    of_eager = _scores(job, baseline)
    margin = margin_of(job.model.get("quality_margin"), of_eager, reference=reference)
    try:
        of_mode = _scores(job, candidate)
    except EvaluationFault as fault:
        raise EvaluationFault(f"eager was scored, this mode was not: {fault}") from fault
    if of_eager.size != of_mode.size:
        raise EvaluationFault(
            f"{reference} returned {of_eager.size} scores for eager and {of_mode.size} for the"
            " mode: score the same examples each time"
        )
    found = judge(of_eager, of_mode, margin=margin)
    return found.model_copy(update={"seconds": time.monotonic() - began})


def data_may_judge(job: Job, numerics: Numerics) -> bool:
    """Tell whether an output outside its tolerance is for the user's function to judge.

    Not where nothing was measured, as of NaN or another shape.
    """
    return (
        not numerics.within_tolerance
        and numerics.error > 0
        and job.case.task == "inference"
        and job.case.precision in JUDGED_BY_DATA
        and job.model.get("quality") is not None
    )


def wider_tolerance(numerics: Numerics, scored: Quality) -> float | None:
    """Return the tolerance of an output that was scored; None, its own, where that is open."""
    return None if scored.verdict == "unresolved" else REACH * numerics.error


def undecided(scored: Quality) -> str:
    """Say that the user's data do not speak for an output outside of its tolerance."""
    needed = scored.examples_needed
    more = "no number of examples" if needed is None else f"{needed:,} examples like these"
    return f"whether it is worse on your data is open, {more} would decide"


def _scores(job: Job, side: WarmedUp) -> NDArray[np.float64]:
    workload = side.workload
    call = in_batches(
        workload.function, workload.inputs, job.case.batch_size, context=workload.context
    )
    return scores_of(job.model["quality"], call, seed=job.seed)
