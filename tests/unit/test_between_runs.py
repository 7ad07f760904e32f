"""Intervals over runs hold in the next run; what one process says of itself does not."""

from __future__ import annotations

import math
from itertools import cycle, islice

import numpy as np
import pytest
from scipy.special import polygamma

from torchmodes.measure.between_runs import (
    Estimate,
    RunCentre,
    VariancePrior,
    harness_bias,
    inverse_trigamma,
    over_runs,
    spread,
    variance_prior,
)

SPREADS = (0.004, 0.023, 0.045, 0.079, 0.093, 0.100, 0.047)
"""Between processes, of log speed-ups: seven cases measured in six processes each."""
WITHIN = 0.015


def runs(*centres: float, standard_error: float = 0.0) -> list[RunCentre]:
    return [RunCentre(centre, standard_error) for centre in centres]


def test_without_other_cases_it_is_students_t():
    found = over_runs(runs(0.0, 0.1, 0.2))
    assert found.centre == pytest.approx(0.1)
    assert found.standard_error == pytest.approx(0.1 / math.sqrt(3))
    assert found.high == pytest.approx(0.1 + 4.302653 * 0.1 / math.sqrt(3))
    assert found.low == pytest.approx(0.1 - 4.302653 * 0.1 / math.sqrt(3))


def test_the_variance_is_drawn_towards_that_of_the_others():
    prior = VariancePrior(variance=0.04, degrees_of_freedom=6.0, most_degrees_of_freedom=50.0)
    found = over_runs(runs(0.0, 0.1, 0.2), prior)
    assert found.standard_error == pytest.approx(math.sqrt((6 * 0.04 + 2 * 0.01) / 8 / 3))
    assert found.degrees_of_freedom == 8


def test_where_all_cases_vary_alike_their_variance_is_taken():
    prior = VariancePrior(variance=0.04, degrees_of_freedom=math.inf, most_degrees_of_freedom=20.0)
    found = over_runs(runs(0.0, 0.1, 0.2), prior)
    assert found.standard_error == pytest.approx(0.2 / math.sqrt(3))
    assert found.degrees_of_freedom == 20


def test_runs_that_agree_by_luck_are_no_surer_than_their_own_blocks():
    found = over_runs(runs(0.1, 0.1, 0.1, standard_error=0.03))
    assert found.standard_error == pytest.approx(0.03 / math.sqrt(3))


def test_one_run_says_nothing_of_the_next():
    prior = VariancePrior(variance=0.04, degrees_of_freedom=6.0, most_degrees_of_freedom=50.0)
    for found in (over_runs(runs(0.1)), over_runs(runs(0.1), prior)):
        assert (found.centre, found.low, found.high) == (0.1, None, None)
    assert spread(runs(0.1)) is None


@pytest.mark.parametrize("value", [1e-8, 0.01, 0.5, 1.0, math.pi**2 / 6, 40.0, 1e9])
def test_inverse_trigamma_inverts_the_trigamma_function(value):
    assert float(polygamma(1, inverse_trigamma(value))) == pytest.approx(value, rel=1e-6)


def test_the_prior_finds_what_variances_were_drawn_from():
    """5000 cases whose variances are 0.04 · 8 / χ²₈, as Smyth's model has it."""
    draw = np.random.default_rng(0)
    spreads = np.sqrt(0.04 * 8 / draw.chisquare(8, size=5000))
    prior = variance_prior(
        runs(*centres) for centres in draw.normal(size=(5000, 3)) * spreads[:, None]
    )
    assert prior is not None
    assert prior.variance == pytest.approx(0.04, rel=0.05)
    assert prior.degrees_of_freedom == pytest.approx(8, rel=0.15)


def test_a_prior_takes_two_cases_of_several_runs():
    assert variance_prior([]) is None
    assert variance_prior([runs(0.1, 0.2), runs(0.1)]) is None
    assert variance_prior([runs(0.1, 0.1), runs(0.2, 0.2)]) is None, "no variance at all"
    assert variance_prior([runs(0.1, 0.2), runs(0.1, 0.1)]) is not None


def simulate(*, cases: int, count: int, heavy: bool, workflows: int) -> tuple[float, float, float]:
    """Return coverage, and median half-widths, moderated and plain, of speed-ups of 1."""
    draw = np.random.default_rng(42)
    spreads = np.array(list(islice(cycle(SPREADS), cases)))[:, None]
    covered, moderated, plain = [], [], []
    for _ in range(workflows):
        shape = (cases, count)
        between = draw.standard_t(4, shape) / math.sqrt(2) if heavy else draw.normal(size=shape)
        centres = between * spreads + WITHIN * draw.normal(size=shape)
        measured = [runs(*row, standard_error=WITHIN) for row in centres]
        prior = variance_prior(measured)
        for one in measured:
            found = over_runs(one, prior)
            assert found.low is not None
            assert found.high is not None
            covered.append(found.low <= 0 <= found.high)
            moderated.append(found.high - found.centre)
            alone = over_runs(one)
            plain.append((alone.high or math.nan) - alone.centre)
    return float(np.mean(covered)), float(np.median(moderated)), float(np.median(plain))


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
@pytest.mark.parametrize("count", [3, 5, 8])
@pytest.mark.parametrize("cases", [8, 25])
def test_intervals_hold_in_the_next_run(cases, count, heavy):
    coverage, moderated, plain = simulate(
        cases=cases, count=count, heavy=heavy, workflows=6000 // cases
    )
    assert 0.925 <= coverage <= 0.97
    if count == 3:
        assert moderated <= 0.7 * plain


def test_what_one_process_says_of_itself_does_not_hold():
    """Why runs: the interval of blocks of one process, of the same spreads."""
    draw = np.random.default_rng(42)
    centres = draw.normal(size=(1000, 7)) * SPREADS + WITHIN * draw.normal(size=(1000, 7))
    assert np.mean(np.abs(centres) <= 1.96 * WITHIN) < 0.65


def test_two_modes_are_compared_head_to_head():
    one, other = over_runs(runs(0.30, 0.32, 0.34)), over_runs(runs(0.20, 0.21, 0.22))
    found = one.against(other)
    assert found.centre == pytest.approx(0.11)
    assert found.standard_error == pytest.approx(math.sqrt((0.02**2 + 0.01**2) / 3))
    assert found.degrees_of_freedom == pytest.approx((5e-4) ** 2 / ((4e-4) ** 2 + (1e-4) ** 2) * 2)
    assert one.against(Estimate(0.2)) == Estimate(pytest.approx(0.12))


def test_the_bias_of_the_harness_is_that_of_all_baselines_together():
    quiet, noisy = runs(0.001, -0.001, 0.002), runs(0.06, -0.06, 0.0)
    together = harness_bias([quiet] * 5 + [noisy])
    assert together is not None
    assert together < 0.02, "one noisy case does not widen all margins"
    biased = harness_bias([runs(0.020, 0.021, 0.019), runs(0.021, 0.020, 0.022)])
    assert biased == pytest.approx(0.0205, abs=0.002)
    assert harness_bias([]) is None
    assert harness_bias([runs(0.1)]) is None
