"""Time in which the process was stopped is seen, told and not counted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from torchmodes.config.run import Measurement
from torchmodes.measure import statistics
from torchmodes.measure.assess import assess
from torchmodes.measure.clock import Timing
from torchmodes.measure.load import Load
from torchmodes.measure.running import MOST_STOPS, RunningClock, passing_time
from torchmodes.measure.sampler import Sampling, sample
from torchmodes.planning.cases import parse_case


class Machine:
    """A clock, the time that passes, and the processor time of a process that computes."""

    name = "made up"
    groupable = True
    events = False
    timer_s = 1e-9

    def __init__(self, *, computing: float = 1.0) -> None:
        self.passed_s = self.used_s = self.used_by_started_s = 0.0
        self.computing = computing

    def running(self) -> RunningClock:
        return RunningClock(
            lambda: self.passed_s, lambda: self.used_s, lambda: self.used_by_started_s
        )

    def run(self, seconds: float) -> None:
        self.passed_s += seconds
        self.used_s += self.computing * seconds

    def stop(self, seconds: float) -> None:
        self.passed_s += seconds

    def time(self, call: Callable[[], object], calls: int, *, events: bool = False) -> Timing:
        began_s = self.passed_s
        for _ in range(calls):
            call()
        return Timing(host_s=max(1e-9, self.passed_s - began_s) / calls, device_s=None)


def clock_after(machine: Machine, *stretches: tuple[str, float]) -> RunningClock:
    """Return the clock of a process that computed for a while, and then did this."""
    running = machine.running()
    for what, seconds in (("run", 0.5), *stretches):
        getattr(machine, what)(seconds)
        running.now()
    return running


def test_a_stopped_process_stops_the_clock() -> None:
    running = clock_after(Machine(), ("stop", 20.0), ("run", 0.5))
    assert running.stopped_s == 20
    assert running.now() == pytest.approx(1.0)


def test_a_long_call_is_not_a_stop() -> None:
    assert clock_after(Machine(), ("run", 20.0)).stopped_s == 0


def test_a_call_that_shares_its_core_is_not_a_stop() -> None:
    machine = Machine()
    running = clock_after(machine)
    machine.run(2.0)
    machine.stop(3.0)  # others ran, turn by turn, while it was called
    running.now()
    assert running.stopped_s == 0


def test_waiting_for_a_compiler_is_not_a_stop() -> None:
    machine = Machine()
    running = clock_after(machine)
    machine.stop(20.0)
    machine.used_by_started_s = 15.0
    running.now()
    assert running.stopped_s == 0


def test_a_process_that_mostly_waits_cannot_be_told_from_a_stopped_one() -> None:
    assert clock_after(Machine(computing=0.01), ("stop", 20.0)).stopped_s == 0


def test_a_budget_is_spent_in_the_end_however_often_it_is_stopped() -> None:
    running = clock_after(Machine(), *[("stop", 5.0)] * 50)
    assert running.stopped_s == MOST_STOPS * 5
    assert running.now() > 100


def sampled(*, stop_at_call: int, stop_s: float, call_s: float = 0.02) -> Sampling:
    """Sample two sides, one twice as fast; the process is stopped once, within a call."""
    machine, calls, rng = Machine(), iter(range(10**6)), np.random.default_rng(1)

    def side(seconds: float) -> Callable[[], None]:
        def call() -> None:
            machine.run(float(seconds * rng.lognormal(sigma=0.05)))
            if next(calls) == stop_at_call:
                machine.stop(stop_s)

        return call

    settings = Measurement(budget_s=6.0, warmup_budget_s=5.0, target_half_width=1e-6)
    return sample(
        side(call_s),
        side(call_s / 2),
        clock=machine,
        settings=settings,
        seed=1,
        running=machine.running(),
    )


def test_the_block_that_was_interrupted_is_kept_and_not_counted() -> None:
    undisturbed, stopped = (sampled(stop_at_call=n, stop_s=20.0) for n in (-1, 200))
    assert stopped.run.stopped_s == pytest.approx(20, abs=0.1)
    assert len(stopped.samples.counted) == len(stopped.samples.blocks) - 1
    (interrupted,) = set(stopped.samples.blocks) - set(stopped.samples.counted)
    assert max(interrupted.seconds) > 20 or sum(interrupted.seconds) < 0.2  # a call, or leading in
    assert max(max(block.seconds) for block in stopped.samples.counted) < 0.1
    assert len(stopped.samples.counted) == pytest.approx(len(undisturbed.samples.counted), abs=2)
    assert stopped.run.sampling_s < 6.5, "it eats no budget"


def test_where_the_only_block_was_interrupted_another_is_taken() -> None:
    long = sampled(stop_at_call=5, stop_s=60.0, call_s=9.0)
    assert [block.interrupted for block in long.samples.blocks] == [True, False]


def test_a_pause_while_warming_up_eats_no_budget_either() -> None:
    warmup = sampled(stop_at_call=15, stop_s=20.0).warmup
    assert warmup.steady
    assert warmup.seconds < 5


def test_the_speed_up_is_that_of_the_counted_blocks() -> None:
    counted = sampled(stop_at_call=200, stop_s=20.0).samples.counted
    sides = statistics.sides([q.order for q in counted], [q.seconds for q in counted])
    ratio = statistics.effect(statistics.log_ratios(*sides)).ratio
    assert ratio.estimate == pytest.approx(2, rel=0.05)


def test_a_stop_is_told_with_its_length_and_what_it_cost() -> None:
    stopped = sampled(stop_at_call=200, stop_s=20.0)
    result = assess(
        parse_case("inference/cpu/m/fast/fp32-b1"),
        stopped,
        minimum_effect=0.01,
        extra_s=0.0,
        load=Load(own=1.0, others=0.0, stolen=0.0, cores=2.0),
        threads=1,
    )
    assert result.run.stopped_s == pytest.approx(20, abs=0.1)
    assert result.verdict == "faster"
    (told,) = (warning for warning in result.warnings if "stopped for" in warning)
    assert told.startswith("the process was stopped for 20 s (a suspended machine, a stop signal)")
    assert told.endswith(
        f"1 of {len(stopped.samples.blocks)} blocks were interrupted and are not counted"
    )


STOPPED = """
import sys, time
from torchmodes.measure.running import RunningClock
running = RunningClock()
deadline = time.monotonic() + 60
print("ready", flush=True)
while running.stopped_s == 0 and time.monotonic() < deadline:
    sum(range(20_000))
    running.now()
print(running.stopped_s)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no stop signals")
def test_a_stop_signal_is_seen_by_the_process_itself() -> None:
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    told, _ = process.communicate(timeout=90)
    assert float(told) >= 2.0


def test_time_passes_at_the_usual_rate() -> None:
    began = passing_time(), time.monotonic()
    time.sleep(0.05)
    assert passing_time() - began[0] == pytest.approx(time.monotonic() - began[1], abs=0.02)
