"""The sampler, on a machine made up for the purpose and on this one."""

import gc
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import binom

from torchmodes.config.run import Measurement
from torchmodes.measure.clock import Timing, make_clock
from torchmodes.measure.running import RunningClock
from torchmodes.measure.sampler import (
    MOST_CALLS,
    OWN_THREADS,
    SHARED_THREADS,
    Pace,
    Sampling,
    calls_per_sample,
    is_steady,
    orders,
    sample,
)
from torchmodes.measure.statistics import effect, log_ratios, sides, verdict
from torchmodes.measure.stopping import StoppingRule

RECORDING_S = 10e-6
"""What it takes the host to record two events."""


class Machine:
    """A clock on which a call takes as long as the call says, times the machine's own slowness."""

    name = "made up"
    groupable = True

    def __init__(
        self, *, timer_s: float = 1e-9, overhead_s: float = 0.0, events: bool = False
    ) -> None:
        self.events = events
        self.timer_s, self.overhead_s, self.at_s = timer_s, overhead_s, 0.0
        self.slowness: Callable[[float], float] = lambda at_s: 1.0
        self.taken: list[int] = []

    def time(self, call: Callable[[], object], calls: int, *, events: bool = False) -> Timing:
        duration = call()
        seconds = duration * self.slowness(self.at_s) if isinstance(duration, float) else 0.0
        device_s = seconds / 2 if events else None
        seconds += RECORDING_S if events else 0.0
        self.at_s += calls * seconds + self.overhead_s
        self.taken.append(calls)
        return Timing(host_s=seconds, device_s=device_s)

    def synchronize(self) -> None:
        return None

    def now(self) -> float:
        return self.at_s


USUAL = {
    "target_half_width": 0.01,
    "budget_s": 10.0,
    "warmup_budget_s": 5.0,
    "time_limit_s": 1e6,
}


def noisy(mean_s: float, sigma: float, seed: int) -> Callable[[], float]:
    rng = np.random.default_rng(seed)
    return lambda: float(mean_s * rng.lognormal(sigma=sigma))


def run(
    baseline: Callable[[], object],
    candidate: Callable[[], object],
    machine: Machine | None = None,
    *,
    pace: Pace = SHARED_THREADS,
    **settings: float,
) -> Sampling:
    machine = machine or Machine()
    return sample(
        baseline,
        candidate,
        clock=machine,
        settings=Measurement(**USUAL | settings),
        seed=42,
        pace=pace,
        running=RunningClock(machine.now, machine.now, lambda: 0.0),
    )


def estimate(sampling: Sampling):
    taken = [block.seconds for block in sampling.samples.blocks]
    return effect(log_ratios(*sides([block.order for block in sampling.samples.blocks], taken)))


def test_a_known_ratio_is_found() -> None:
    found = 0
    for seed in range(100, 120):
        sampling = run(noisy(5e-3, 0.03, seed), noisy(4e-3, 0.03, seed + 5000))
        said = estimate(sampling)
        found += said.ratio.low <= 1.25 <= said.ratio.high
        assert said.half_width < 0.01
        assert sampling.converged
    assert found >= 17, "of 20 intervals of 95 %"


def test_every_sample_is_kept_with_its_order_and_time() -> None:
    ticks = itertools.count(1)
    taken: list[tuple[str, float]] = []

    def side(name: str) -> Callable[[], float]:
        def call() -> float:
            taken.append((name, 1e-3 * next(ticks)))
            return taken[-1][1]

        return call

    sampling = run(side("A"), side("B"), budget_s=2.0)
    flat = [seconds for block in sampling.samples.blocks for seconds in block.seconds]
    names = "".join(block.order for block in sampling.samples.blocks)
    called = iter(taken[2 * sampling.warmup.calls :])
    assert all(sample in called for sample in zip(names, flat, strict=True)), "in the order taken"
    began = [block.at_s for block in sampling.samples.blocks]
    assert began[0] == 0
    assert all(np.diff(began) >= [sum(block.seconds) for block in sampling.samples.blocks[:-1]])


def test_events_are_kept_beside_host_time_and_are_no_part_of_it() -> None:
    """Of a call of 20 us they would be a third, and a speed-up of 2 would look like 1.5."""
    sampling = run(lambda: 20e-6, lambda: 10e-6, Machine(events=True))
    assert estimate(sampling).ratio.estimate == pytest.approx(2.0)
    for block in sampling.samples.blocks:
        expected = [20e-6 if side == "A" else 10e-6 for side in block.order]
        assert block.seconds == pytest.approx(expected)
        assert block.device_seconds == pytest.approx([seconds / 2 for seconds in expected])


def test_a_long_call_is_not_made_twice_for_its_events() -> None:
    calls = {"A": 0, "B": 0}

    def side(name: str) -> Callable[[], float]:
        def call() -> float:
            calls[name] += 1
            return 0.5

        return call

    sampling = run(side("A"), side("B"), Machine(events=True), budget_s=10.0)
    expected = sampling.warmup.calls + 2 * len(sampling.samples.blocks)
    assert calls == {"A": expected, "B": expected}
    for block in sampling.samples.blocks:
        assert block.device_seconds == pytest.approx([0.25] * 4)


def test_a_device_without_events_makes_no_call_for_them() -> None:
    machine = Machine()
    sampling = run(lambda: 1e-3, lambda: 1e-3, machine)
    assert all(block.device_seconds is None for block in sampling.samples.blocks)
    turns = sum(
        one != other
        for one, other in itertools.pairwise(
            "".join(block.order for block in sampling.samples.blocks)
        )
    )
    leading_in = round(SHARED_THREADS.lead_in_s / 1e-3) * (turns + 1)
    timed = sum(len(calls) for block in sampling.samples.blocks for calls in block.calls or ())
    rest = 2 * sampling.warmup.calls + timed
    assert machine.taken.count(1) - 100 - rest == pytest.approx(leading_in, rel=0.1)


def test_orders_are_random_but_balanced() -> None:
    drawn = list(itertools.islice(orders(7), 400))
    assert all(set(drawn[i : i + 2]) == {"ABBA", "BAAB"} for i in range(0, 400, 2))
    first_of_pair = drawn[0::2]
    assert 60 < first_of_pair.count("ABBA") < 140
    assert drawn == list(itertools.islice(orders(7), 400))
    assert drawn != list(itertools.islice(orders(8), 400))


def test_the_budget_stops_a_noisy_case() -> None:
    sampling = run(noisy(5e-3, 0.5, 1), noisy(5e-3, 0.5, 2), budget_s=1.0)
    assert not sampling.converged
    assert 1.0 <= sampling.run.sampling_s < 1.2


@pytest.mark.parametrize("pace", [SHARED_THREADS, OWN_THREADS])
def test_what_the_other_side_leaves_behind_is_in_no_sample(pace: Pace) -> None:
    """The first milliseconds of a side after the other's turn are slow, as on cold caches."""
    machine = Machine()
    turn: dict[str, object] = {"side": "", "since": 0.0}

    def side(name: str, seconds: float) -> Callable[[], float]:
        def call() -> float:
            if turn["side"] != name:
                turn.update(side=name, since=machine.at_s)
            return seconds * (3 if machine.at_s - turn["since"] < pace.lead_in_s else 1)

        return call

    sampling = run(side("A", 3e-3), side("B", 2e-3), machine, pace=pace)
    assert {round(s, 9) for block in sampling.samples.blocks for s in block.seconds} == {3e-3, 2e-3}
    assert estimate(sampling).ratio.estimate == pytest.approx(1.5)


@pytest.mark.parametrize(("call_s", "calls"), [(1e-3, 5), (0.2e-3, MOST_CALLS), (6e-3, 1)])
def test_a_sample_of_short_calls_is_the_median_of_several(call_s: float, calls: int) -> None:
    """One call in three is slow: neither in a sample, nor lost."""
    numbers = itertools.count()

    def call() -> float:
        return call_s if calls == 1 or next(numbers) % 3 else 5 * call_s

    sampling = run(call, call, budget_s=1.0)
    for block in sampling.samples.blocks:
        assert block.seconds == pytest.approx([call_s] * 4)
        if calls == 1:
            assert block.calls is None
            continue
        for taken in block.calls:
            assert len(taken) == calls
            assert max(taken) == pytest.approx(5 * call_s)


def test_each_side_has_as_many_calls_to_a_sample_as_it_is_fast() -> None:
    sampling = run(lambda: 20e-3, lambda: 1e-3)
    block = sampling.samples.blocks[0]
    of = dict(zip(block.order, map(len, block.calls), strict=True))
    assert of == {"A": 1, "B": 5}


def test_a_slow_call_leads_in_once() -> None:
    taken: list[str] = []
    sampling = run(
        lambda: taken.append("A") or 0.04, lambda: taken.append("B") or 0.04, budget_s=5.0
    )
    names = "".join(taken[2 * sampling.warmup.calls :])
    turns = [len(list(calls)) for _, calls in itertools.groupby(names)]
    assert set(turns) <= {2, 3, 5}, "one call, and the one, two or four samples of a turn"


@pytest.mark.parametrize(("call_s", "blocks"), [(1.1, 3), (3.0, 3), (4.9, 2), (20.0, 1)])
def test_slow_calls_get_three_blocks_if_four_budgets_allow(call_s: float, blocks: int) -> None:
    sampling = run(noisy(call_s, 1e-6, 1), lambda: call_s, budget_s=10.0, target_half_width=1e-9)
    assert len(sampling.samples.blocks) == blocks
    assert not sampling.converged
    assert sampling.run.sampling_s <= max(40, 4.5 * call_s)


def test_one_block_of_calls_of_20_s_resolves_nothing() -> None:
    sampling = run(lambda: 20.0, lambda: 10.0, budget_s=10.0)
    assert verdict(estimate(sampling), beyond=0.01) == "unresolved"


def test_the_rule_looks_at_the_width_never_at_the_centre() -> None:
    """The same noise around another ratio stops at the same block."""
    settings = {"warmup_budget_s": 1e-9, "budget_s": 1e4}
    faster = run(noisy(10.0, 0.05, 1), noisy(2.0, 0.05, 2), **settings)
    same = run(noisy(10.0, 0.05, 1), noisy(10.0, 0.05, 2), **settings)
    assert len(same.samples.blocks) == len(faster.samples.blocks)


def test_one_narrow_look_is_not_enough() -> None:
    rule = StoppingRule(target_half_width=0.01, min_quads=10)
    narrow = [0.001, -0.001] * 50
    looks = [n for n in range(1, 60) if rule.enough(narrow[:n])]
    assert looks[0] == 13, "looks come at 10 and 13 blocks; the second one settles it"


def test_a_wide_look_between_starts_again() -> None:
    rule = StoppingRule(target_half_width=0.01, min_quads=10)
    assert not rule.enough([0.0] * 10)
    assert not rule.enough([0.0] * 8 + [0.5] * 5)
    assert not rule.enough([0.0] * 17)
    assert rule.enough([0.0] * 22)


def test_a_machine_that_drifts_does_not_deceive() -> None:
    """It slows by half while sampling, and stutters; the ratio stays 1.1."""
    held = 0
    for seed in range(10):
        machine = Machine()
        machine.slowness = lambda at_s: 1 + 4 * at_s + (0.5 if math.sin(40 * at_s) > 0.9 else 0)
        baseline, candidate = noisy(2.2e-3, 0.03, seed), noisy(2.0e-3, 0.03, seed + 1000)
        said = estimate(run(baseline, candidate, machine))
        held += said.ratio.low <= 1.1 <= said.ratio.high
        assert verdict(said, beyond=0.01) == "faster"
    assert held >= binom.ppf(1e-3, 10, 0.95)


def test_two_of_a_kind_are_never_told_apart() -> None:
    said = {
        verdict(estimate(run(noisy(2e-3, 0.1, i), noisy(2e-3, 0.1, i + 1000))), beyond=0.00995)
        for i in range(5)
    }
    assert said <= {"same", "unresolved"}


def falling(first_s: float, last_s: float, calls: int) -> Callable[[], float]:
    times: Iterator[float] = itertools.chain(
        np.geomspace(first_s, last_s, calls).tolist(), itertools.repeat(last_s)
    )
    return lambda: next(times)


def test_warm_up_lasts_until_both_sides_are_steady() -> None:
    quick = run(lambda: 10e-3, lambda: 10e-3).warmup
    slow = run(lambda: 10e-3, falling(500e-3, 10e-3, 40), warmup_budget_s=60).warmup
    assert (quick.calls, quick.steady) == (10, True)
    assert 35 <= slow.calls <= 60
    assert slow.steady


def test_warm_up_gives_up_at_its_budget() -> None:
    ever_faster = itertools.count()
    warmup = run(lambda: 10e-3, lambda: 1.0 * 0.97 ** next(ever_faster), warmup_budget_s=2.0).warmup
    assert not warmup.steady
    assert 2.0 <= warmup.seconds < 3.1


def test_calls_slower_than_the_warm_up_are_made_once_each() -> None:
    warmup = run(lambda: 8.0, lambda: 8.0, warmup_budget_s=5.0, budget_s=1.0).warmup
    assert (warmup.calls, warmup.steady) == (1, False)


@pytest.mark.parametrize(
    ("seconds", "steady"),
    [
        ([0.01] * 9, False),  # less than two windows of five calls
        ([0.01] * 10, True),
        ([0.02] * 5 + [0.01] * 5, False),
        ([0.0104] * 5 + [0.01] * 5, True),
        ([0.01] * 5 + [0.02] * 5, True),  # slower is a neighbour, not a warm-up
        ([9.0] + [0.01] * 20, True),  # a slow first call is forgotten
        ([0.001] * 60, False),  # two windows of 50 ms are wanted
        ([0.001] * 100, True),
    ],
)
def test_steady_when_two_adjacent_windows_agree(seconds: list[float], steady: bool) -> None:
    assert is_steady(seconds) is steady


@pytest.mark.parametrize(
    ("per_call_s", "calls"), [(1e-3, 1), (1e-4, 1), (9e-5, 2), (1e-5, 10), (1e-6, 100), (0.0, 1000)]
)
def test_calls_are_grouped_only_as_far_as_the_timer_asks(per_call_s: float, calls: int) -> None:
    machine = Machine(timer_s=1e-7)
    assert calls_per_sample(per_call_s, clock=machine, share=0.001) == calls
    machine.groupable = False
    assert calls_per_sample(per_call_s, clock=machine, share=0.001) == 1


def test_both_sides_are_grouped_alike_by_the_faster() -> None:
    machine = Machine(timer_s=1e-7)
    sampling = run(lambda: 1e-3, lambda: 2e-5, machine)
    assert sampling.samples.calls_per_sample == 5
    assert set(machine.taken) == {1, 5}, "untimed calls are made one by one"


def test_time_outside_samples_is_told() -> None:
    sampling = run(lambda: 0.1, lambda: 0.1, Machine(overhead_s=0.1))
    samples = sum(sum(block.seconds) for block in sampling.samples.blocks)
    assert sampling.run.bookkeeping_share == pytest.approx(1 - samples / sampling.run.sampling_s)
    assert sampling.run.bookkeeping_share == pytest.approx(0.5), "a call of 0.1 s leads not in"


def test_no_garbage_is_collected_within_a_sample() -> None:
    enabled: set[bool] = set()

    def call() -> float:
        enabled.add(gc.isenabled())
        return 1e-3

    run(call, call)
    assert enabled == {False}
    assert gc.isenabled()


def test_what_a_side_raises_comes_through_and_the_collector_returns() -> None:
    calls = itertools.count()

    def fails_late() -> float:
        if next(calls) > 20:
            raise RuntimeError("late")
        return 1e-3

    with pytest.raises(RuntimeError, match="late"):
        run(lambda: 1e-3, fails_late)
    assert gc.isenabled()


def test_this_machine_sees_twice_the_work() -> None:
    """On a busy machine it may not be resolved, but neither denied nor far off."""
    sampling = sample(
        lambda: sum(range(10_000)),
        lambda: sum(range(20_000)),
        clock=make_clock("cpu"),
        settings=Measurement(**USUAL | {"budget_s": 1.5}),
        seed=1,
    )
    said = estimate(sampling)
    assert verdict(said, beyond=0.1) in ("slower", "unresolved")
    assert 0.4 < said.ratio.estimate < 0.6
    shortest = min(min(block.seconds) for block in sampling.samples.blocks)
    assert sampling.samples.timer_s < 0.002 * sampling.samples.calls_per_sample * shortest
