"""The statistics' formulas, each against an independent reckoning."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from torchmodes.measure.statistics import (
    Effect,
    effect,
    holm,
    log_ratios,
    margin,
    p_value,
    sides,
    survivor,
    verdict,
)


def alternating(n: int) -> np.ndarray:
    """Values in an order of negative autocorrelation, so that no correction applies."""
    values = np.sort(np.random.default_rng(3).normal(0.05, 0.02, n))
    order = np.empty(n)
    order[0::2], order[1::2] = values[: n - n // 2], values[n - n // 2 :]
    return order


def with_interval(low: float, high: float) -> Effect:
    centre = (low + high) / 2
    base = effect([centre, centre])
    reach = (high - low) / 2
    error = reach / float(stats.t.ppf(0.975, 9))
    return dataclasses.replace(base, standard_error=error, degrees_of_freedom=9)


def test_sides_follow_the_order() -> None:
    baseline, candidate = sides(["ABBA", "BAAB"], [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert baseline.tolist() == [[1, 4], [6, 7]]
    assert candidate.tolist() == [[2, 3], [5, 8]]


def test_log_ratio_is_the_mean_log_of_each_side() -> None:
    (ratio,) = log_ratios([[2.0, 8.0]], [[1.0, 4.0]])
    assert ratio == pytest.approx(math.log(4.0 / 2.0))


def test_drift_that_is_linear_within_a_block_cancels() -> None:
    taken = [1.00, 1.01, 1.02, 1.03]
    for order in ("ABBA", "BAAB"):
        assert effect(log_ratios(*sides([order], [taken]))).centre == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("n", [3, 5, 10, 23, 100])
def test_centre_is_the_trimmed_mean(n: int) -> None:
    values = np.random.default_rng(n).standard_t(2, n)
    assert effect(values).centre == pytest.approx(stats.trim_mean(values, 0.2))


@pytest.mark.parametrize("n", [5, 10, 23, 100])
def test_interval_is_yuens(n: int) -> None:
    values = alternating(n)
    measured = effect(values)
    # Yuen's two-sample test against a constant is the one-sample test.
    yuen = stats.ttest_ind(values, np.zeros(n), equal_var=False, trim=0.2)
    assert measured.centre / measured.standard_error == pytest.approx(yuen.statistic)
    assert measured.degrees_of_freedom == pytest.approx(n - 2 * int(0.2 * n) - 1)
    assert p_value(measured, beyond=0.0) == pytest.approx(yuen.pvalue)
    reach = stats.t.ppf(0.975, measured.degrees_of_freedom) * measured.standard_error
    assert measured.low == pytest.approx(measured.centre - reach)
    assert measured.high == pytest.approx(measured.centre + reach)


def test_speed_up_is_the_exponential() -> None:
    measured = effect(alternating(20))
    assert measured.ratio.estimate == pytest.approx(math.exp(measured.centre))
    assert measured.ratio.low == pytest.approx(math.exp(measured.low))
    assert measured.ratio.high == pytest.approx(math.exp(measured.high))
    assert measured.half_width == pytest.approx(math.exp((measured.high - measured.low) / 2) - 1)


def test_a_slower_machine_changes_neither_estimate_nor_interval() -> None:
    baseline, candidate = np.random.default_rng(2).lognormal(size=(2, 30, 2))
    one = effect(log_ratios(baseline, candidate))
    other = effect(log_ratios(baseline * 37, candidate * 37))
    assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))


def test_autocorrelation_is_that_of_lag_one() -> None:
    walk = np.random.default_rng(0).normal(size=400)
    for i in range(1, 400):
        walk[i] += 0.6 * walk[i - 1]
    low, high = np.quantile(walk, [0.2, 0.8])
    clipped = np.clip(walk, low, high)
    measured = effect(walk)
    assert measured.autocorrelation == pytest.approx(
        np.corrcoef(clipped[1:], clipped[:-1])[0, 1], abs=0.01
    )
    assert measured.autocorrelated
    assert not effect(np.random.default_rng(0).permutation(walk)).autocorrelated


def test_first_order_inflation_widens_the_interval() -> None:
    """Three blocks leave one lag, whose formula can be reckoned by hand."""
    values = np.array([-1.0, 0.0, 1.0])  # r = 0, and 1/3 once its bias is put right
    measured = effect(values)
    inflation = (1 + 1 / 3) / (1 - 1 / 3)
    assert measured.autocorrelation == pytest.approx(0)
    assert measured.standard_error == pytest.approx(math.sqrt(2 / (3 * 2) * inflation))
    assert measured.degrees_of_freedom == pytest.approx(max(1, 3 / inflation - 1))


def test_the_bias_put_right_grows_with_the_autocorrelation() -> None:
    values = np.array([1.0, 1.0, -1.0, -1.0])  # r = 1/4, and 3/4 once its bias is put right
    measured = effect(values)
    inflation = (1 + 3 / 4) / (1 - 3 / 4)
    assert measured.autocorrelation == pytest.approx(1 / 4)
    assert measured.standard_error == pytest.approx(math.sqrt(4 / (4 * 3) * inflation))


def test_long_memory_inflates_more_than_first_order() -> None:
    rng = np.random.default_rng(1)
    slow = np.repeat(rng.normal(size=40), 25) + 2 * rng.normal(size=1000)
    n, shuffled = slow.size, rng.permutation(slow)
    r = effect(slow).autocorrelation + (1 + 4 * effect(slow).autocorrelation) / n
    by_first_order = math.sqrt((1 + r) / (1 - r)) * effect(shuffled).standard_error
    assert effect(slow).standard_error > 1.5 * by_first_order


def test_one_block_has_no_interval() -> None:
    measured = effect([0.3])
    assert (measured.blocks, measured.centre) == (1, 0.3)
    assert measured.low is measured.high is measured.half_width is None
    assert verdict(measured, beyond=0.01) == "unresolved"
    assert p_value(measured, beyond=0.01) == 1.0


@pytest.mark.parametrize("values", [[], [math.nan], [[0.1]]])
def test_effect_refuses_what_it_cannot_use(values: list) -> None:
    with pytest.raises(ValueError, match="ratios"):
        effect(values)


def test_identical_blocks_are_the_same() -> None:
    measured = effect([0.0] * 7)
    assert (measured.low, measured.centre, measured.high) == (0.0, 0.0, 0.0)
    assert verdict(measured, beyond=0.01) == "same"
    assert verdict(effect([0.5] * 7), beyond=0.01) == "faster"


def test_mostly_equal_blocks_keep_the_scatter_of_the_rest() -> None:
    """A coarse timer gives many equal ratios; their winsorised variance alone would be zero."""
    assert effect([0.0] * 8 + [0.4, -0.4]).high > 0.05


def test_a_bound_beyond_floats_is_none_not_infinite() -> None:
    wild = effect([-300.0, 300.0])
    assert wild.ratio.high is None
    json.dumps(dataclasses.asdict(wild), allow_nan=False)


def test_margin_is_the_larger_of_floor_and_minimum_effect() -> None:
    assert margin(minimum_effect=0.01) == pytest.approx(math.log(1.01))
    assert margin(minimum_effect=0.01, floor=0.002) == pytest.approx(math.log(1.01))
    assert margin(minimum_effect=0.01, floor=0.08) == pytest.approx(0.08)
    with pytest.raises(ValueError, match="minimum_effect"):
        margin(minimum_effect=-0.1)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.03, 0.05, "faster"),
        (-0.05, -0.03, "slower"),
        (-0.01, 0.015, "same"),
        (0.01, 0.05, "unresolved"),
        (-0.05, 0.01, "unresolved"),
        (-0.05, 0.05, "unresolved"),
    ],
)
def test_verdict_needs_the_whole_interval(low: float, high: float, said: str) -> None:
    assert verdict(with_interval(low, high), beyond=0.02) == said


def test_a_wide_floor_makes_nothing_the_same() -> None:
    assert verdict(with_interval(-0.04, 0.04), beyond=0.8) == "same"
    assert verdict(with_interval(-0.2, 0.2), beyond=0.8) == "unresolved"


def test_p_value_is_the_doubled_tail_beyond_the_margin() -> None:
    measured = with_interval(0.03, 0.05)
    t = (0.04 - 0.02) / measured.standard_error
    assert p_value(measured, beyond=0.02) == pytest.approx(2 * stats.t.sf(t, 9))


def test_p_value_is_five_per_cent_where_the_interval_touches_the_margin() -> None:
    assert p_value(with_interval(0.02, 0.05), beyond=0.02) == pytest.approx(0.05)
    assert p_value(with_interval(-0.05, -0.02), beyond=0.02) == pytest.approx(0.05)


def test_holm_multiplies_by_the_hypotheses_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_a_claim_that_holm_rejects_is_withdrawn() -> None:
    assert survivor("faster", adjusted_p=0.06) == "unresolved"
    assert survivor("faster", adjusted_p=0.04) == "faster"
    assert survivor("same", adjusted_p=1.0) == "same"


def test_no_false_claim_in_95_of_100_runs_of_many_cases() -> None:
    """Ten cases a run, all exactly at the margin, the worst place for a false claim."""
    rng, false_runs, beyond = np.random.default_rng(5), 0, 0.01
    for _ in range(400):
        cases = [effect(rng.normal(beyond, 0.02, 20)) for _ in range(10)]
        adjusted = holm([p_value(case, beyond=beyond) for case in cases])
        said = [
            survivor(verdict(case, beyond=beyond), adjusted_p=p)
            for case, p in zip(cases, adjusted, strict=True)
        ]
        false_runs += bool({"faster", "slower"} & set(said))
    assert false_runs <= stats.binom.ppf(0.999, 400, 0.05)


def test_statistics_need_no_pytorch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, torchmodes.measure.statistics, torchmodes.measure.latency,"
        " torchmodes.measure.breakeven, torchmodes.measure.stopping;"
        " sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_bound_that_is_too_small_for_a_number_is_still_above_zero():
    measured = effect([600.0, -600.0]).ratio
    assert measured.estimate == 1
    assert measured.high is None
    assert 0 < measured.low < 1e-300
    assert measured.says_nothing
