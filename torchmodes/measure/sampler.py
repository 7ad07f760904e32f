"""Sample a baseline and a candidate, interleaved call by call, until the interval is narrow."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from torchmodes.config.run import Measurement
from torchmodes.measure.clock import Call, Clock, Timing, collector_paused, empty_sample_s
from torchmodes.measure.running import RunningClock
from torchmodes.measure.statistics import effect
from torchmodes.measure.stopping import StoppingRule
from torchmodes.results.records import Block, Execution, Samples, Warmup

Order = Literal["ABBA", "BAAB"]
Four = tuple[float, float, float, float]

WINDOW_CALLS = 5
WINDOW_S = 0.05
STEADY_TOLERANCE = 0.05
"""By how much an earlier window may be slower than a later one that still counts as alike."""
MOST_CALLS = 16
"""Calls of a sample at the most: more would keep, of very short ones, more than anybody reads."""
FEWEST_BLOCKS = 3
OVERRUN = 4
"""Slow calls may run for this many budgets to complete `FEWEST_BLOCKS`."""
TIMER_SHARE = 0.001
"""The largest part of a sample that the timer's resolution may be: calls are grouped no further."""
_COLLECT_EVERY_S = 0.5


@dataclass(frozen=True)
class Pace:
    """How long each side is called in its turn; docs/measuring.md has what it was chosen by.

    Attributes
    ----------
    lead_in_s
        Seconds of untimed calls, one at the least, before a side's first sample after the other's:
        what the other left behind in caches, and where the system put its threads, is nobody's
        speed.
    sample_s
        Seconds of a sample of short calls, about: see `timings_per_sample`.
    long_call_s
        Calls as long as this are not led in to: it would cost a call, and change little.
    """

    lead_in_s: float
    sample_s: float
    long_call_s: float


SHARED_THREADS = Pace(lead_in_s=0.005, sample_s=0.005, long_call_s=0.05)
"""Of two sides that compute with the same threads: the shorter a block, the less drifts in it."""
OWN_THREADS = Pace(lead_in_s=0.02, sample_s=0.005, long_call_s=1.0)
"""Of an engine with threads of its own, which are slow to take the cores over after the other's."""


@dataclass(frozen=True)
class Sampling:
    """Every sample of a case in the order taken, none dropped, and how it went.

    `converged` says whether the target half-width was reached.
    """

    samples: Samples
    warmup: Warmup
    converged: bool
    run: Execution


def sample(
    baseline: Call,
    candidate: Call,
    *,
    clock: Clock,
    settings: Measurement,
    seed: int,
    pace: Pace = SHARED_THREADS,
    running: RunningClock | None = None,
    batches: int = 1,
    take: Callable[[int], object] = lambda number: None,
) -> Sampling:
    """Warm both sides up, then take blocks until the interval is narrow or the budget is spent.

    A block in which the process was stopped is kept, and neither counted nor charged to the budget.
    What either side raises is raised; the garbage collector is restored first. The seed is of the
    order of the blocks; `running` tells the time for the budgets, by default this process's.

    Of a schedule there are several batches; `take` lets both sides' next calls take the batch of
    that number. A block is of one batch, and a pass takes each of them once, in an order drawn
    anew; sampling ends with a pass, unless that takes several budgets.
    """
    running = running or RunningClock()
    now = running.now
    with collector_paused() as collect:
        own_share_s = empty_sample_s(clock)
        warmup, sides_s = warm_up(
            baseline,
            candidate,
            clock=clock,
            settings=settings,
            now=now,
            batches=batches,
            take=take,
        )
        calls = calls_per_sample(min(sides_s), clock=clock, share=TIMER_SHARE)
        collect()
        rule = StoppingRule(
            target_half_width=settings.target_half_width, min_quads=settings.min_quads
        )
        blocks: list[Block] = []
        ratios: list[float] = []
        began = collected = now()
        stopped_before_s = running.stopped_s
        turns = _Turns(
            baseline,
            candidate,
            clock,
            calls,
            timings=[timings_per_sample(calls * side_s, pace.sample_s) for side_s in sides_s],
            lead_in_s=pace.lead_in_s if min(sides_s) < pace.long_call_s else 0.0,
            running=running,
        )
        for order, number in zip(orders(seed), batch_numbers(batches, seed), strict=True):
            if batches > 1:
                take(number)
                turns.begin_anew()
            block = turns.block(order, began=began, batch=number if batches > 1 else None)
            blocks.append(block)
            if block.interrupted:
                continue
            ratios.append(_log_ratio(block))
            whole = len(blocks) % batches == 0
            if whole and rule.enough(ratios):
                break
            if _spent(len(ratios), now() - began, settings, whole=whole):
                break
            if now() - collected > _COLLECT_EVERY_S:
                collect()
                collected = now()
        seconds = now() - began
    sampled = calls * sum(
        sum(map(sum, block.calls or [block.seconds])) for block in blocks if not block.interrupted
    )
    half_width = effect(ratios).half_width
    return Sampling(
        samples=Samples(
            clock=clock.name,
            timer_s=clock.timer_s,
            empty_sample_s=own_share_s,
            calls_per_sample=calls,
            blocks=blocks,
        ),
        warmup=warmup,
        converged=half_width is not None and half_width < settings.target_half_width,
        run=Execution(
            sampling_s=seconds,
            stopped_s=running.stopped_s - stopped_before_s,
            bookkeeping_share=max(0.0, 1 - sampled / seconds) if seconds > 0 else 0.0,
        ),
    )


def orders(seed: int) -> Iterator[Order]:
    """Yield the orders of blocks: at random, but one of each in every two."""
    draw = random.Random(seed)
    while True:
        pair: list[Order] = ["ABBA", "BAAB"]
        draw.shuffle(pair)
        yield from pair


def batch_numbers(batches: int, seed: int) -> Iterator[int]:
    """Yield the numbers of a schedule's batches, pass after pass, each in an order of its own.

    So a pass that the budget cuts short has seen neither the short nor the long ones alone.
    """
    draw = random.Random(seed)
    while True:
        yield from draw.sample(range(batches), batches)


class _Turns:
    """Takes samples in turn, and leads in where the side changes."""

    def __init__(
        self,
        baseline: Call,
        candidate: Call,
        clock: Clock,
        calls: int,
        *,
        timings: Sequence[int],
        lead_in_s: float,
        running: RunningClock,
    ) -> None:
        self._sides = {"A": baseline, "B": candidate}
        self._clock, self._calls = clock, calls
        self._timings = dict(zip("AB", timings, strict=True))
        self._lead_in_s = lead_in_s
        self._running, self._now = running, running.now
        self._last = ""

    def begin_anew(self) -> None:
        """Lead in to the next sample whichever side took the last one: the batch is another."""
        self._last = ""

    def block(self, order: Order, *, began: float, batch: int | None) -> Block:
        """Take four samples."""
        at_s, stopped_s = self._now() - began, self._running.stopped_s
        samples = [self._sample(side) for side in order]
        self._now()  # notices a stop in the last sample
        first, second, third, fourth = (tuple(t.host_s for t in taken) for taken in samples)
        calls = (first, second, third, fourth)
        return Block(
            order=order,
            seconds=(median(first), median(second), median(third), median(fourth)),
            calls=calls if max(map(len, calls)) > 1 else None,
            device_seconds=_device_seconds([taken[0] for taken in samples]),
            at_s=at_s,
            interrupted=self._running.stopped_s > stopped_s,
            batch=batch,
        )

    def _sample(self, side: str) -> list[Timing]:
        """Take a sample; the events are those of a call before it, for they take host time too."""
        call, events = self._sides[side], self._clock.events
        began, changed, self._last = self._now(), side != self._last, side
        before = None
        while (changed or (events and before is None)) and self._now() - began < self._lead_in_s:
            before = self._clock.time(call, 1, events=events)
        if before is None and events:  # so long a call that its events do not count
            return [self._clock.time(call, self._calls, events=True)]
        taken = [self._clock.time(call, self._calls) for _ in range(self._timings[side])]
        if before is not None:
            taken[0] = replace(taken[0], device_s=before.device_s)
        return taken


def _device_seconds(timings: Sequence[Timing]) -> Four | None:
    times = [timing.device_s for timing in timings if timing.device_s is not None]
    if len(times) < len(timings):
        return None
    first, second, third, fourth = times
    return first, second, third, fourth


def _log_ratio(block: Block) -> float:
    """Return what `statistics.log_ratios` would for one block, cheaply enough for the loop."""
    outer, inner = block.seconds[0] * block.seconds[3], block.seconds[1] * block.seconds[2]
    ratio = math.log(outer / inner) / 2
    return ratio if block.order == "ABBA" else -ratio


def _spent(blocks: int, elapsed_s: float, settings: Measurement, *, whole: bool) -> bool:
    """Tell whether the budget is spent; a few slow calls, or the rest of a pass, may exceed it."""
    if elapsed_s < settings.budget_s:
        return False
    affordable = elapsed_s * (blocks + 1) / blocks <= OVERRUN * settings.budget_s
    return (whole and blocks >= FEWEST_BLOCKS) or not affordable


def warm_up(
    baseline: Call,
    candidate: Call,
    *,
    clock: Clock,
    settings: Measurement,
    now: Callable[[], float],
    batches: int,
    take: Callable[[int], object],
) -> tuple[Warmup, tuple[float, float]]:
    """Call both sides in turn until both are steady, or the warm-up's budget is spent.

    Of a schedule every batch is called at least once, and whole passes are compared. The numbers
    are seconds per call of each side, once warm.
    """
    began = now()
    times: tuple[list[float], list[float]] = ([], [])
    next_look, steady = 2 * WINDOW_CALLS, False
    while not steady:
        if batches > 1:
            take(len(times[0]))
        for call, side in zip((baseline, candidate), times, strict=True):
            side.append(clock.time(call, 1).host_s)
        if batches > 1:
            steady = all(passes_agree(side, batches) for side in times)
        elif len(times[0]) >= next_look:
            next_look = math.ceil(next_look * 1.1)
            steady = all(is_steady(side) for side in times)
        if now() - began >= settings.warmup_budget_s and len(times[0]) >= batches:
            break
    warmup = Warmup(calls=len(times[0]), seconds=now() - began, steady=steady)
    last = max(WINDOW_CALLS, batches)
    return warmup, (median(times[0][-last:]), median(times[1][-last:]))


def passes_agree(seconds: Sequence[float], batches: int) -> bool:
    """Tell whether the last of two whole passes is no faster than the one before; `is_steady`."""
    if len(seconds) % batches or len(seconds) < 2 * batches:
        return False
    later, earlier = sum(seconds[-batches:]), sum(seconds[-2 * batches : -batches])
    return earlier <= later * (1 + STEADY_TOLERANCE)


def is_steady(seconds: Sequence[float]) -> bool:
    """Tell whether the last calls are no faster than those just before: two adjacent windows agree.

    Becoming faster is what warming up looks like; becoming slower is a neighbour or a throttling
    machine, which pairing deals with. So the rule is one-sided, as the far wider tolerance of
    pyperf's calibration of warm-ups is to that side: the earlier window's median must not exceed
    the later one's by more than 5 %. A window holds at least 5 calls and 50 ms.
    """
    size, spanned = 0, 0.0
    while size < len(seconds) // 2 and (size < WINDOW_CALLS or spanned < WINDOW_S):
        size += 1
        spanned += seconds[-size]
    if size < WINDOW_CALLS or spanned < WINDOW_S:
        return False
    later, earlier = seconds[-size:], seconds[-2 * size : -size]
    return median(earlier) <= median(later) * (1 + STEADY_TOLERANCE)


def calls_per_sample(per_call_s: float, *, clock: Clock, share: float) -> int:
    """Return how many calls make a sample long enough for the timer, and no more.

    Longer groups would let the machine drift between baseline and candidate.
    """
    if not clock.groupable:
        return 1
    # A call that the timer cannot see counts as one tick: 1000 of them make a sample.
    return max(1, math.ceil(clock.timer_s / (share * max(per_call_s, clock.timer_s))))


def timings_per_sample(seconds: float, sample_s: float) -> int:
    """Return how many timings of so many seconds make a sample, which is their median.

    All samples of a side have as many: one that ended once its time was over would hold more calls
    where they happened to be fast, and so be biased.
    """
    return max(1, math.ceil(sample_s / max(seconds, sample_s / MOST_CALLS)))
