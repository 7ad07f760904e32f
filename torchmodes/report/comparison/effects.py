"""The effect between two runs, as an effect like that of one: formulas in docs/measuring.md."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from torchmodes.measure.between_runs import Estimate
from torchmodes.measure.statistics import CONFIDENCE, Effect, effect, log_ratios, sides
from torchmodes.results.records import Interval, Record

_LARGEST = 700.0
"""Exponent; e to more than 709 is no float."""


def case_effect(record: Record) -> Effect | None:
    """Return a case's speed-up over eager, from its samples; None where none may be published."""
    return _over_runs(record) if is_measured(record) else None


def effect_between(base: Record, this: Record) -> Effect | None:
    """Return how a case's speed-up over eager changed between two runs; None: cannot be told.

    Its logarithms are positive where the mode gained on eager. Two records of one and the same
    measurement (a copy, or one with altered figures) are compared block by block.
    """
    if not (is_measured(base) and is_measured(this)):
        return None
    if is_same_measurement(base, this):
        return effect(_ratios(this) - _ratios(base))
    return difference(_over_runs(this), _over_runs(base))


def difference(this: Effect, base: Effect) -> Effect:
    """Return one effect less another that is independent of it: Yuen's two-sample trimmed t.

    The standard errors add in quadrature, the degrees of freedom are Welch's.
    """
    return _difference(
        this.centre - base.centre,
        (this.standard_error, this.degrees_of_freedom),
        (base.standard_error, base.degrees_of_freedom),
        count=this.blocks + base.blocks,
    )


def difference_of_means(this: NDArray[np.float64], base: NDArray[np.float64]) -> Effect:
    """Return the difference of the means of two independent samples: Welch's t."""
    return _difference(
        float(this.mean() - base.mean()),
        _mean_error(this),
        _mean_error(base),
        count=this.size + base.size,
    )


def floor_of_two(this: float | None, base: float | None) -> float:
    """Return the bias of a difference: two runs' biases (logarithms) in quadrature; None is none.

    What measuring does to one side alone in one run is independent of what it does in another.
    """
    return math.hypot(this or 0.0, base or 0.0)


def as_interval(changed: Effect) -> Interval:
    """Return an effect as a ratio with its interval."""
    return Interval(
        estimate=math.exp(changed.centre), low=changed.speed_up_low, high=changed.speed_up_high
    )


def is_measured(record: Record) -> bool:
    """Tell whether there are samples whose speed-up may be published."""
    return record.status == "ok" and record.samples is not None and record.no_effect is None


def seconds(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return seconds per call of eager and of the mode, each of shape (blocks, 2)."""
    assert record.samples is not None
    blocks = record.samples.counted
    return sides([block.order for block in blocks], [block.seconds for block in blocks])


def is_same_measurement(base: Record, this: Record) -> bool:
    """Tell whether two records with samples tell of one run of one process."""
    assert base.samples is not None
    assert this.samples is not None
    there, here = (
        [block.at_s for block in samples.blocks] for samples in (base.samples, this.samples)
    )
    return base.run.started_at == this.run.started_at and there == here


def _over_runs(record: Record) -> Effect:
    """Return a case's speed-up with its error over runs; of one run, over its blocks."""
    within = effect(_ratios(record))
    found = record.statistics
    if found is None or found.standard_error is None or found.degrees_of_freedom is None:
        return within
    estimate = Estimate(
        math.log(found.speed_up.estimate), found.standard_error, found.degrees_of_freedom
    )
    return replace(
        within,
        centre=estimate.centre,
        low=estimate.low,
        high=estimate.high,
        standard_error=estimate.standard_error,
        degrees_of_freedom=estimate.degrees_of_freedom,
        speed_up=found.speed_up.estimate,
        speed_up_low=found.speed_up.low,
        speed_up_high=found.speed_up.high,
        half_width=found.half_width,
    )


def _ratios(record: Record) -> NDArray[np.float64]:
    return log_ratios(*seconds(record))


def _difference(
    centre: float,
    one: tuple[float | None, float | None],
    other: tuple[float | None, float | None],
    *,
    count: int,
) -> Effect:
    """Return an effect from its centre and each side's standard error and degrees of freedom."""
    (first, first_df), (second, second_df) = one, other
    error = freedom = low = high = None
    if None not in (first, first_df, second, second_df):
        assert first is not None
        assert second is not None
        assert first_df is not None
        assert second_df is not None
        error = math.hypot(first, second)
        quartic = first**4 / first_df + second**4 / second_df
        freedom = error**4 / quartic if quartic > 0 else first_df + second_df
        reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
        low, high = centre - reach, centre + reach
    return Effect(
        blocks=count,
        centre=centre,
        low=low,
        high=high,
        standard_error=error,
        degrees_of_freedom=freedom,
        autocorrelation=None,
        autocorrelated=False,
        speed_up=_exp(centre),
        speed_up_low=_exp(low),
        speed_up_high=_exp(high),
        half_width=None if high is None or high - centre > _LARGEST else math.expm1(high - centre),
    )


def _exp(exponent: float | None) -> float | None:
    """Return e to the exponent, or None where no float holds it."""
    return None if exponent is None or exponent > _LARGEST else math.exp(exponent)


def _mean_error(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Return the standard error of a mean and its degrees of freedom."""
    if values.size < 2:
        return None, None
    return float(values.std(ddof=1) / math.sqrt(values.size)), float(values.size - 1)
