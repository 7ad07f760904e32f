"""Break-even: calls that pay the preparation back."""

import math

import pytest
from scipy import stats

from torchmodes.measure.breakeven import break_even
from torchmodes.measure.statistics import Estimate


def speed_up(estimate: float, low: float | None = None) -> Estimate:
    """A speed-up whose interval reaches from `low` as far above it as below, in logarithms."""
    if low is None:
        return Estimate(math.log(estimate))
    reach = math.log(estimate / low)
    return Estimate(math.log(estimate), reach / float(stats.t.ppf(0.975, 9)), 9.0)


def test_break_even_divides_extra_seconds_by_seconds_saved() -> None:
    paid = break_even(speed_up(2.0, 1.25), baseline_s=0.1, extra_s=10.0)
    assert paid.estimate == pytest.approx(10 / (0.1 - 0.05))
    assert paid.low == pytest.approx(10 / (0.1 - 0.1 / 3.2))
    assert paid.high == pytest.approx(10 / (0.1 - 0.08))


def test_never_when_not_faster() -> None:
    assert break_even(speed_up(0.9, 0.85), baseline_s=0.1, extra_s=10.0) is None


def test_half_open_when_the_interval_touches_one() -> None:
    paid = break_even(speed_up(1.1, 0.968), baseline_s=0.1, extra_s=10.0)
    assert paid.estimate == pytest.approx(10 / (0.1 - 0.1 / 1.1))
    assert paid.low == pytest.approx(10 / (0.1 - 0.08))
    assert paid.high is None


def test_not_faster_by_the_estimate_but_perhaps() -> None:
    assert break_even(speed_up(0.99, 0.8), baseline_s=0.1, extra_s=10.0) is None


def test_cheaper_preparation_is_paid_at_once() -> None:
    paid = break_even(speed_up(2.0, 1.5), baseline_s=0.1, extra_s=-1.0)
    assert (paid.estimate, paid.low, paid.high) == (0, 0, 0)


def test_one_block_gives_an_estimate_alone() -> None:
    paid = break_even(speed_up(2.0), baseline_s=0.1, extra_s=10.0)
    assert (paid.estimate, paid.low, paid.high) == (pytest.approx(200), None, None)
