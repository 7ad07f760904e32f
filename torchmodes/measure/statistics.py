"""The speed-up of a candidate over its baseline: estimate, interval, verdict, multiplicity.

The unit of every inference is the block (four samples taken together), never the call. The method,
with its sources and a table of its measured coverage, is in docs/measuring.md. Nothing here needs
PyTorch: the report derives its figures from stored samples with these same functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from torchmodes.results.records import WIDEST_HALF_WIDTH, Block, Interval, Verdict

CONFIDENCE = 0.95
TRIM = 0.2
"""Share of blocks set aside at either end; Wilcox recommends it for heavy tails."""
WIDEST_SAME = math.log1p(0.05)
"""No larger difference is called the same, however noisy the machine is: 5 %, as a logarithm."""

_LONGEST_MEMORY = 0.95
"""Cap on an estimated autocorrelation, so that a short run's interval stays finite."""
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class Estimate:
    """A log ratio with its error, which is None where one run, or one block, alone tells it.

    `centre` is a natural logarithm, positive where the candidate is faster. Its standard error and
    the degrees of freedom are what the interval and the tests are made from.
    """

    centre: float
    standard_error: float | None = None
    degrees_of_freedom: float | None = None

    @property
    def low(self) -> float | None:
        """The lower bound of the 95 % interval, by Student's t."""
        return None if (reach := self._reach()) is None else self.centre - reach

    @property
    def high(self) -> float | None:
        """The upper bound."""
        return None if (reach := self._reach()) is None else self.centre + reach

    @property
    def ratio(self) -> Interval:
        """The same as a ratio; its upper bound is open where no float holds it."""
        low, high = self.low, self.high
        return Interval(
            estimate=_exp(self.centre),
            low=None if low is None else _exp(low),
            high=None if high is None or high > _LARGEST_EXPONENT else math.exp(high),
        )

    @property
    def half_width(self) -> float | None:
        """Of the interval, relative: 0.01 says ± 1 %; None where no float holds it."""
        reach = self._reach()
        return None if reach is None or reach > _LARGEST_EXPONENT else math.expm1(reach)

    @property
    def says_nothing(self) -> bool:
        """Whether the interval is too wide for its centre to mean anything.

        Noise that is alike in all blocks does not make such intervals. Samples at two speeds do,
        and of those neither the trimmed mean nor Student's t knows which is the model's.
        """
        reach = self._reach()
        return reach is not None and reach > math.log(WIDEST_HALF_WIDTH)

    def against(self, other: Estimate) -> Estimate:
        """Return how much this is more than another whose errors are independent.

        The standard errors add in quadrature, the degrees of freedom are Welch's (1947): of two
        trimmed means, Yuen's two-sample t.
        """
        centre = self.centre - other.centre
        ours, theirs = self._squared_error(), other._squared_error()
        if ours is None or theirs is None:
            return Estimate(centre)
        squares = ours[0] ** 2 / ours[1] + theirs[0] ** 2 / theirs[1]
        together = ours[0] + theirs[0]
        degrees = together**2 / squares if squares > 0 else ours[1] + theirs[1]
        return Estimate(centre, math.sqrt(together), degrees)

    def _reach(self) -> float | None:
        if self.standard_error is None or self.degrees_of_freedom is None:
            return None
        return float(stdtrit(self.degrees_of_freedom, (1 + CONFIDENCE) / 2)) * self.standard_error

    def _squared_error(self) -> tuple[float, float] | None:
        if self.standard_error is None or self.degrees_of_freedom is None:
            return None
        return self.standard_error**2, self.degrees_of_freedom


@dataclass(frozen=True)
class Effect(Estimate):
    """A speed-up estimated from so many blocks; its error is corrected for autocorrelation.

    The `autocorrelation` is between successive (winsorised) blocks, lag 1; None with fewer than
    three. `independent_error` is the least that the error can be: if blocks were independent.
    """

    blocks: int = 1
    autocorrelation: float | None = None
    independent_error: float | None = None

    @property
    def autocorrelated(self) -> bool:
        """Whether the autocorrelation is positive beyond chance (2/√blocks) and above 0.1."""
        found = self.autocorrelation
        return found is not None and found > max(0.1, 2 / math.sqrt(self.blocks))


def _exp(exponent: float) -> float:
    """Return e to the exponent, as far as a float holds it."""
    return math.exp(min(max(exponent, -_LARGEST_EXPONENT), _LARGEST_EXPONENT))


def sides(
    orders: Sequence[str], seconds: Sequence[Sequence[float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part blocks into baseline and candidate samples: (blocks, 2) each, in the order taken.

    `seconds` per call have the shape (blocks, 4); in ``"ABBA"`` and ``"BAAB"`` A is the baseline.
    """
    taken = np.asarray(seconds, dtype=np.float64).reshape(len(orders), 4)
    outer, inner = taken[:, [0, 3]], taken[:, [1, 2]]
    baseline_outside = np.array([order == "ABBA" for order in orders], dtype=bool)[:, None]
    return np.where(baseline_outside, outer, inner), np.where(baseline_outside, inner, outer)


def sides_of(blocks: Sequence[Block]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the baseline's and the candidate's samples of blocks; see `sides`."""
    return sides([block.order for block in blocks], [block.seconds for block in blocks])


def every_call(blocks: Sequence[Block]) -> tuple[list[float], list[float]]:
    """Return the seconds of every timed call of the baseline and of the candidate."""
    found: dict[str, list[float]] = {"A": [], "B": []}
    for block in blocks:
        samples = block.calls or [(one,) for one in block.seconds]
        for side, calls in zip(block.order, samples, strict=True):
            found[side] += calls
    return found["A"], found["B"]


def log_ratios(baseline_s: ArrayLike, candidate_s: ArrayLike) -> NDArray[np.float64]:
    """Return each block's log speed-up: mean log baseline minus mean log candidate.

    The times have the shape (blocks, 2) and are seconds per call.
    """
    baseline, candidate = np.log(baseline_s), np.log(candidate_s)
    return baseline.mean(axis=1) - candidate.mean(axis=1)


def effect(ratios: ArrayLike) -> Effect:
    """Estimate the speed-up from blocks' log-ratios, given in the order they were taken.

    The centre is the 20 % trimmed mean; its interval is Student's t with the winsorised variance
    (Tukey and McLaughlin 1963; Yuen 1974), on an effective number of blocks where successive ones
    are alike.

    Raises
    ------
    ValueError
        When there is no block, or a value is not finite.
    """
    values = np.asarray(ratios, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError("ratios: at least one block is needed, and every value must be finite")
    n = values.size
    ordered = np.sort(values)
    trimmed = int(TRIM * n)
    kept = n - 2 * trimmed
    centre = float(ordered[trimmed : n - trimmed].mean())
    if n == 1:
        return Effect(centre)

    winsorised = np.clip(values, ordered[trimmed], ordered[n - trimmed - 1])
    if winsorised.min() == winsorised.max():
        # Most blocks are equal (a coarse timer): the variance of the others must not be lost.
        winsorised, kept = values, n
    # From one of them, not from zero: equal blocks must give deviations of exactly zero.
    deviations = winsorised - ordered[n // 2]
    deviations -= deviations.mean()
    squares = float(deviations @ deviations)
    correlations = _autocorrelations(deviations, squares)
    inflation = _variance_inflation(correlations, n)
    independent_error = math.sqrt(squares / (kept * (kept - 1)))
    standard_error = independent_error * math.sqrt(inflation)
    degrees_of_freedom = max(1.0, kept / inflation - 1)
    autocorrelation = float(correlations[0]) if n > 2 else None
    return Effect(centre, standard_error, degrees_of_freedom, n, autocorrelation, independent_error)


def _autocorrelations(deviations: NDArray[np.float64], squares: float) -> NDArray[np.float64]:
    """Return the autocorrelations at the lags 1 … √n."""
    n = deviations.size
    lags = range(1, max(2, math.isqrt(n) + 1))
    if squares == 0:
        return np.zeros(len(lags))
    return np.array([deviations[lag:] @ deviations[:-lag] / squares for lag in lags])


def _variance_inflation(correlations: NDArray[np.float64], n: int) -> float:
    """Return by how much dependence between blocks multiplies the variance of their centre.

    The larger of two estimates: a first-order autoregression, (1 + r) / (1 − r), which is all that
    a short run can tell, and one plus twice the leading positive autocorrelations (Geyer 1992),
    which sees slower noise in a long run. Both are corrected for the downward bias of sample
    autocorrelations, (1 + 4ρ)/n (Kendall 1954), and neither narrows an interval.
    """
    bias = np.full(correlations.size, 1 / n)
    bias[0] += 4 * correlations[0] / n if correlations.size else 0
    unbiased = np.minimum(correlations + bias, _LONGEST_MEMORY)
    first = max(0.0, float(unbiased[0]))
    positive = unbiased > 0
    leading = unbiased.size if positive.all() else int(np.argmin(positive))
    return max((1 + first) / (1 - first), 1 + 2 * float(unbiased[:leading].sum()))


def margin(*, minimum_effect: float, floor: float | None = None) -> float:
    """Return the effect (a logarithm) that an interval must clear before anything is claimed.

    It is no less than the smallest relative speed-up that matters to the user (0.01 is 1 %), nor
    than the bias of measuring, a logarithm, which an A/A case is not judged by.
    """
    if not 0 <= minimum_effect < math.inf:
        raise ValueError(f"minimum_effect: {minimum_effect} must be zero or more, and finite")
    return max(floor or 0.0, math.log1p(minimum_effect))


def verdict(measured: Estimate, *, beyond: float) -> Verdict:
    """Say what the interval allows to be said.

    ``faster`` or ``slower`` when the whole interval lies beyond the margin ``beyond`` (from
    `margin`), ``same`` when it lies wholly within, else ``unresolved``. Where the noise floor has
    pushed the margin above `WIDEST_SAME`, only an interval within that is called the same. An
    interval so wide that it `says_nothing` is never more than ``unresolved``.
    """
    if measured.low is None or measured.high is None or measured.says_nothing:
        return "unresolved"
    if measured.low > beyond:
        return "faster"
    if measured.high < -beyond:
        return "slower"
    alike = min(beyond, WIDEST_SAME)
    if -alike <= measured.low and measured.high <= alike:
        return "same"
    return "unresolved"


def p_value(measured: Estimate, *, beyond: float) -> float:
    """Return how surprising the effect is if its true size is no more than the margin.

    The one-sided tail of Student's t at (|centre| − margin) / standard error, doubled because the
    direction is read off the data. So it is below 0.05 exactly when the 95 % interval clears the
    margin. It is 1 where there is no interval, or one that `says_nothing`.
    """
    if measured.standard_error is None or measured.degrees_of_freedom is None:
        return 1.0
    if measured.says_nothing:
        return 1.0
    excess = abs(measured.centre) - beyond
    if measured.standard_error == 0:
        return 0.0 if excess > 0 else 1.0
    tail = float(stdtr(measured.degrees_of_freedom, -excess / measured.standard_error))
    return min(1.0, 2 * tail)


def spent(p_value: float, *, looks: int) -> float:
    """Return a p-value that has paid for further looks at the same question while runs were added.

    Who looks again until something is found finds something. So the second look is held to a
    quarter of 5 %, the third to an eighth, …: all further looks together to half of it.
    """
    return min(1.0, p_value * 2 ** (looks + 1)) if looks else p_value


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust the p-values of all cases of a run for their number (Holm 1979), in the order given.

    Claiming only the cases at or below 0.05 keeps the chance of one or more false claims in the
    whole run at or below 5 %, whatever their dependence.
    """
    count = len(p_values)
    adjusted = [0.0] * count
    largest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def survivor(claimed: Verdict, *, adjusted_p: float) -> Verdict:
    """Return the verdict that stands among many cases: a claim that Holm rejects is withdrawn."""
    if claimed in ("faster", "slower") and adjusted_p > 1 - CONFIDENCE:
        return "unresolved"
    return claimed
