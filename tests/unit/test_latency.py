"""Latency, its percentiles and drift."""

import math

import numpy as np
import pytest
from scipy import stats

from torchmodes.measure.latency import drift, latency, slowed_by, two_speeds
from torchmodes.measure.schedules import items_per_second
from torchmodes.measure.statistics import sides_of
from torchmodes.results.records import Block


def test_summary_of_known_samples() -> None:
    said = latency([1.0, 2.0, 3.0, 10.0])
    assert (said.n, said.median_s, said.mean_s, said.min_s, said.max_s) == (4, 2.5, 4.0, 1.0, 10.0)
    assert said.standard_deviation_s == pytest.approx(np.std([1, 2, 3, 10], ddof=1))


@pytest.mark.parametrize(
    ("n", "given"),
    [(49, []), (50, ["p90_s"]), (100, ["p90_s", "p95_s"]), (500, ["p90_s", "p95_s", "p99_s"])],
)
def test_a_percentile_needs_five_samples_beyond_it(n: int, given: list[str]) -> None:
    said = latency(np.linspace(1, 2, n))
    assert [name for name in ("p90_s", "p95_s", "p99_s") if getattr(said, name)] == given


def test_percentiles_are_numpys() -> None:
    samples = np.random.default_rng(0).lognormal(size=1000)
    said = latency(samples)
    assert said.p99_s == pytest.approx(np.quantile(samples, 0.99))
    assert said.p50_s == pytest.approx(np.median(samples))


def test_grouped_calls_have_no_tail() -> None:
    said = latency(np.linspace(1, 2, 1000), calls_per_sample=8)
    assert said.p90_s is said.p95_s is said.p99_s is None
    assert said.p50_s == pytest.approx(1.5)


def test_one_sample_is_enough_for_a_latency() -> None:
    assert latency([2.0]).standard_deviation_s == 0.0


def test_throughput_is_items_over_median() -> None:
    calls = ((1.0,), (0.1, 0.2), (9.0,), (1.0,))
    blocks = [Block(order="ABBA", seconds=(1.0, 0.15, 9.0, 1.0), calls=calls, at_s=0.0)]
    candidate = sides_of(blocks)[1]
    assert items_per_second(candidate, blocks, items_per_call=8) == pytest.approx(40)


def baseline(change: float, *, n: int = 40, noise: float = 0.02) -> tuple[np.ndarray, list[float]]:
    rng, at = np.random.default_rng(4), np.linspace(0, 10, n)
    level = 1e-3 * (1 + change) ** (at / 10)
    return level[:, None] * rng.lognormal(sigma=noise, size=(n, 2)), at.tolist()


def test_drift_is_theil_and_sens_slope_with_mann_and_kendalls_significance() -> None:
    samples, at = baseline(0.2)
    logs = np.log(samples).mean(axis=1)
    said = drift(samples, at)
    assert said.change == pytest.approx(math.expm1(10 * stats.theilslopes(logs, at).slope))
    assert stats.kendalltau(at, logs).pvalue < 0.01
    assert said.drifting


@pytest.mark.parametrize(("change", "drifting"), [(0.0, False), (0.03, False), (-0.3, True)])
def test_only_a_large_change_is_drift(change: float, drifting: bool) -> None:
    said = drift(*baseline(change, n=500))
    assert said.change == pytest.approx(change, abs=0.01)
    assert said.drifting is drifting


def test_scatter_alone_is_not_drift() -> None:
    flagged = 0
    for seed in range(300):
        samples = np.random.default_rng(seed).lognormal(sigma=0.3, size=(12, 2))
        flagged += drift(samples, list(range(12))).drifting
    assert flagged <= stats.binom.ppf(0.999, 300, 0.01)


def test_two_blocks_do_not_drift() -> None:
    assert drift([[1.0, 1.0], [9.0, 9.0]], [0.0, 1.0]).change is None


def test_a_slowed_job_stands_out_from_its_group() -> None:
    assert slowed_by([1.0, 1.1, 0.9, 1.4]) == (None, None, None, 1.4)
    assert slowed_by([]) == ()
    assert slowed_by([1.0]) == (None,)


@pytest.mark.parametrize("others", [[1.0], [1.0, 600.0], [1.0, 1.0, 600.0]])
def test_a_slowed_job_is_compared_with_the_others_alone(others: list[float]) -> None:
    """Neither with a median that it is part of, nor with one that another slowed job shares."""
    assert slowed_by([*others, 600.0])[-1] == 600.0
    assert slowed_by([*others, 600.0])[0] is None


def test_samples_at_two_speeds_are_told_from_those_that_scatter() -> None:
    scatter = np.random.default_rng(3).lognormal(sigma=0.25, size=400)
    assert two_speeds(latency(scatter)) is None
    at_two_speeds = np.where(np.arange(400) % 10, 15.8e-3, 0.13e-3)
    assert two_speeds(latency(at_two_speeds)) == pytest.approx(15.8 / 0.13)
