"""Break-even: calls that pay the preparation back."""

import dataclasses
import math

import pytest

from torchmodes.measure.breakeven import break_even
from torchmodes.measure.statistics import effect


def speed_up(estimate: float, low: float | None, high: float | None):
    return dataclasses.replace(
        effect([math.log(estimate)] * 3),
        low=None if low is None else math.log(low),
        high=None if high is None else math.log(high),
    )


def test_break_even_divides_extra_seconds_by_seconds_saved() -> None:
    paid = break_even(speed_up(2.0, 1.25, 4.0), baseline_s=0.1, extra_s=10.0)
    assert paid.estimate == pytest.approx(10 / (0.1 - 0.05))
    assert paid.low == pytest.approx(10 / (0.1 - 0.025))
    assert paid.high == pytest.approx(10 / (0.1 - 0.08))


def test_never_when_not_faster() -> None:
    paid = break_even(speed_up(0.9, 0.8, 0.99), baseline_s=0.1, extra_s=10.0)
    assert paid is None


def test_half_open_when_the_interval_touches_one() -> None:
    paid = break_even(speed_up(1.1, 0.95, 1.25), baseline_s=0.1, extra_s=10.0)
    assert paid.estimate == pytest.approx(10 / (0.1 - 0.1 / 1.1))
    assert paid.low == pytest.approx(10 / (0.1 - 0.08))
    assert paid.high is None


def test_not_faster_by_the_estimate_but_perhaps() -> None:
    paid = break_even(speed_up(0.99, 0.9, 1.25), baseline_s=0.1, extra_s=10.0)
    assert paid is None


def test_cheaper_preparation_is_paid_at_once() -> None:
    paid = break_even(speed_up(2.0, 1.5, 3.0), baseline_s=0.1, extra_s=-1.0)
    assert (paid.estimate, paid.low, paid.high) == (0, 0, 0)


def test_one_block_gives_an_estimate_alone() -> None:
    paid = break_even(speed_up(2.0, None, None), baseline_s=0.1, extra_s=10.0)
    assert (paid.estimate, paid.low, paid.high) == (pytest.approx(200), None, None)


def test_a_baseline_of_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="baseline_s"):
        break_even(speed_up(2.0, 1.5, 3.0), baseline_s=0.0, extra_s=1.0)
