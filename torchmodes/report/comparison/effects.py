"""The effect between two runs, as an effect like that of one: formulas in docs/measuring.md."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from torchmodes.measure.statistics import Estimate, effect, log_ratios, sides_of
from torchmodes.report.recommendation import estimate_of
from torchmodes.results.records import Record


def case_effect(record: Record) -> Estimate | None:
    """Return a case's speed-up over eager; None where none may be published.

    Its error is over runs; of one run, over its blocks.
    """
    if not is_measured(record):
        return None
    found = record.statistics
    if found is None or found.standard_error is None:
        return effect(_ratios(record))
    return estimate_of(found)


def effect_between(base: Record, this: Record) -> Estimate | None:
    """Return how a case's speed-up over eager changed between two runs; None: cannot be told.

    Its logarithms are positive where the mode gained on eager. Two records of one and the same
    measurement (a copy, or one with altered figures) are compared block by block.
    """
    there, here = case_effect(base), case_effect(this)
    if there is None or here is None:
        return None
    if is_same_measurement(base, this):
        return effect(_ratios(this) - _ratios(base))
    return here.against(there)


def mean(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of independent values, with its error where there are several."""
    if values.size < 2:
        return Estimate(float(values.mean()))
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    return Estimate(float(values.mean()), error, values.size - 1.0)


def floor_of_two(this: float | None, base: float | None) -> float:
    """Return the bias of a difference: two runs' biases (logarithms) in quadrature; None is none.

    What measuring does to one side alone in one run is independent of what it does in another.
    """
    return math.hypot(this or 0.0, base or 0.0)


def is_measured(record: Record) -> bool:
    """Tell whether there are samples whose speed-up may be published."""
    return record.status == "ok" and record.samples is not None and record.no_effect is None


def seconds(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return seconds per call of eager and of the mode, each of shape (blocks, 2)."""
    assert record.samples is not None
    return sides_of(record.samples.counted)


def is_same_measurement(base: Record, this: Record) -> bool:
    """Tell whether two records with samples tell of one run of one process."""
    assert base.samples is not None
    assert this.samples is not None
    there, here = (
        [block.at_s for block in samples.blocks] for samples in (base.samples, this.samples)
    )
    return base.run.started_at == this.run.started_at and there == here


def _ratios(record: Record) -> NDArray[np.float64]:
    return log_ratios(*seconds(record))
