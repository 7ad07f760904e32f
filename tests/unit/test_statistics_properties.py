"""What must hold of the statistics for any samples whatever."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from benchmarks.calibration import NOISES, true_centre
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import drift, latency
from torchmodes.measure.statistics import (
    Effect,
    effect,
    holm,
    log_ratios,
    p_value,
    verdict,
)

seconds = st.floats(1e-9, 1e4)
blocks = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(seconds, seconds), min_size=n, max_size=n),
        st.lists(st.tuples(seconds, seconds), min_size=n, max_size=n),
    )
)
ratios = st.lists(st.floats(-3, 3), min_size=1, max_size=80)
probabilities = st.lists(st.floats(0, 1), max_size=30)


def close(one: float | None, other: float | None, scale: float = 1.0) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9 * scale)


def measured(sides: tuple) -> Effect:
    return effect(log_ratios(*sides))


@given(blocks, st.floats(1e-3, 1e3))
def test_a_machine_that_is_slower_throughout_changes_nothing(sides: tuple, factor: float) -> None:
    slower = tuple(np.asarray(side) * factor for side in sides)
    one, other = measured(sides), measured(slower)
    # Rounding can change which lags count as positive: compare what does not hang on a sign.
    assert close(one.centre, other.centre, scale=100)


@given(blocks)
def test_swapping_the_sides_negates(sides: tuple) -> None:
    one, other = measured(sides), measured(sides[::-1])
    assert close(one.centre, -other.centre, scale=100)
    if one.low is not None:
        assert close(one.standard_error, other.standard_error, scale=100)
        assert close(one.low, -other.high, scale=1e4)
        opposite = {"faster": "slower", "slower": "faster"}
        said = verdict(one, beyond=0.01)
        assert verdict(other, beyond=0.01) == opposite.get(said, said)


@given(st.lists(st.tuples(seconds, seconds), min_size=2, max_size=60))
def test_identical_samples_are_the_same(side: list) -> None:
    said = effect(log_ratios(side, side))
    assert (said.low, said.centre, said.high) == (0, 0, 0)
    assert verdict(said, beyond=0.01) == "same"


@given(ratios)
def test_the_interval_holds_its_centre_and_is_json(values: list[float]) -> None:
    said = effect(values)
    json.dumps(dataclasses.asdict(said), allow_nan=False)
    assert min(values) - 1e-12 <= said.centre <= max(values) + 1e-12
    if said.low is not None:
        assert said.low <= said.centre <= said.high


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=80), st.floats(-1e6, 1e6), st.data())
def test_one_wild_block_cannot_carry_the_centre_away(
    values: list[float], wild: float, data: st.DataObject
) -> None:
    values[data.draw(st.integers(0, len(values) - 1))] = wild
    assert -1 - 1e-12 <= effect(values).centre <= 1 + 1e-12


@given(ratios, st.floats(0, 0.5))
def test_p_is_below_five_per_cent_exactly_when_something_is_claimed(
    values: list[float], beyond: float
) -> None:
    said = effect(values)
    p = p_value(said, beyond=beyond)
    assume(abs(p - 0.05) > 1e-9)
    assert (p < 0.05) == (verdict(said, beyond=beyond) in ("faster", "slower"))


@given(ratios, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_wider_margin_never_makes_a_claim(values: list[float], one: float, two: float) -> None:
    narrow, wide = sorted((one, two))
    said = effect(values)
    if verdict(said, beyond=wide) in ("faster", "slower"):
        assert verdict(said, beyond=narrow) == verdict(said, beyond=wide)


@given(probabilities)
def test_holm_only_raises_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    assert [adjusted[i] for i in np.argsort(values, kind="stable")] == sorted(adjusted)
    assert holm(values[:1]) == tuple(values[:1])


@given(ratios, st.floats(1e-6, 10), st.floats(-10, 1000))
def test_break_even_has_an_upper_bound_only_where_it_is_sure_to_pay(
    values: list[float], baseline_s: float, extra_s: float
) -> None:
    said = effect(values)
    paid = break_even(said, baseline_s=baseline_s, extra_s=extra_s)
    if paid is not None and paid.high is not None:
        assert said.low > 0


@given(st.lists(seconds, min_size=1, max_size=600))
def test_a_latency_is_ordered(samples: list[float]) -> None:
    said = latency(samples)
    known = [p for p in (said.p50_s, said.p90_s, said.p95_s, said.p99_s) if p is not None]
    assert known == sorted(known)
    assert said.min_s <= said.median_s <= said.max_s
    assert said.min_s * (1 - 1e-9) <= said.mean_s <= said.max_s * (1 + 1e-9)


@given(blocks)
def test_drift_of_anything_is_json(sides: tuple) -> None:
    said = drift(sides[0], [0.1 * i for i in range(len(sides[0]))])
    json.dumps(dataclasses.asdict(said), allow_nan=False)


@pytest.mark.parametrize("noise", ["normal", "Laplace", "Student t, 2 df", "spikes"])
@settings(max_examples=5, deadline=None)
@given(
    speed_up=st.floats(0.05, 20),
    scatter=st.floats(1e-4, 0.3),
    blocks=st.integers(4, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_known_ratios_are_covered_at_the_nominal_rate(
    noise: str, speed_up: float, scatter: float, blocks: int, seed: int
) -> None:
    """Of 300 intervals, no fewer hold the truth than chance allows one time in a million."""
    rng, truth = np.random.default_rng(seed), math.log(speed_up) + true_centre(noise)
    held = 0
    for _ in range(300):
        candidate = np.full((blocks, 2), 1e-3)
        log_baseline = math.log(1e-3) + math.log(speed_up) + scatter * NOISES[noise](rng, blocks)
        said = effect(log_ratios(np.exp(log_baseline)[:, None].repeat(2, 1), candidate))
        held += said.low <= truth <= said.high
    assert held >= binom.ppf(1e-6, 300, 0.945)
