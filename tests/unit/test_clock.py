"""Clocks: what lies between the stamps, and what does not."""

import gc
import time
import weakref
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from torchmodes.measure import clock as clocks
from torchmodes.measure.clock import (
    AcceleratorClock,
    collector_paused,
    empty_sample_s,
    make_clock,
    timer_resolution_s,
)


def test_cpu_clock_measures_a_call() -> None:
    timing = make_clock("cpu").time(lambda: time.sleep(0.02), 1)
    assert 0.02 <= timing.host_s < 0.2
    assert timing.device_s is None


def test_grouped_calls_are_averaged() -> None:
    made = []
    timing = make_clock("cpu").time(lambda: made.append(time.sleep(0.005)), 4)
    assert len(made) == 4
    assert 0.005 <= timing.host_s < 0.05


class Logged:
    """An output that tells when it is given back."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def __del__(self) -> None:
        self._log.append("output freed")


class FakeEvent:
    """An event whose elapsed time is 3 ms."""

    log: list[str]

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.log.append("event")

    def elapsed_time(self, end: "FakeEvent") -> float:
        assert end is not self
        self.log.append("elapsed")
        return 3.0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []

    class Time:
        @staticmethod
        def perf_counter_ns() -> int:
            written.append("stamp")
            return len(written) * 1000

    monkeypatch.setattr(clocks, "time", Time)
    monkeypatch.setattr(FakeEvent, "log", written, raising=False)
    return written


def accelerator(log: list[str], flushed: torch.Tensor | None = None) -> AcceleratorClock:
    backend = ModuleType("backend")
    backend.__dict__.update(Event=FakeEvent, synchronize=lambda: log.append("synchronize"))
    made = AcceleratorClock(backend, name="fake", flushed=flushed)
    log.clear()
    return made


def test_output_outlives_the_stop_stamp(log: list[str]) -> None:
    cpu = clocks.CpuClock()
    log.clear()
    cpu.time(lambda: Logged(log), 1)
    assert log == ["stamp", "stamp", "output freed"]


def test_grouped_calls_are_averaged_exactly(log: list[str]) -> None:
    cpu = clocks.CpuClock()
    log.clear()  # stamps are 1 µs apart from now on
    assert cpu.time(lambda: None, 4).host_s == pytest.approx(250e-9)


def test_accelerator_is_synchronised_before_the_first_and_the_last_stamp(log: list[str]) -> None:
    made = accelerator(log)
    timing = made.time(lambda: log.append("call"), 1)
    assert log == ["synchronize", "stamp", "call", "synchronize", "stamp"]
    assert timing.device_s is None


def test_every_call_of_a_group_is_finished_before_the_next(log: list[str]) -> None:
    accelerator(log).time(lambda: log.append("call"), 2)
    assert log == ["synchronize", "stamp", *["call", "synchronize"] * 2, "stamp"]


def test_events_stand_around_each_call_where_they_are_asked_for(log: list[str]) -> None:
    made = accelerator(log)
    timing = made.time(lambda: log.append("call"), 2, events=True)
    events = ["event", "call", "event", "synchronize"]
    assert log == ["synchronize", "stamp", *events, *events, "stamp", "elapsed", "elapsed"]
    assert timing.device_s == pytest.approx(0.003), "per call, not per group"
    assert made.events
    assert not clocks.CpuClock.events


def test_cache_is_flushed_before_the_stamps_and_forbids_groups(log: list[str]) -> None:
    class Buffer:
        def zero_(self) -> None:
            log.append("flush")

    made = accelerator(log, flushed=Buffer())
    made.time(lambda: log.append("call"), 1)
    assert log[:3] == ["flush", "synchronize", "stamp"]
    assert not made.groupable
    assert accelerator(log).groupable


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("flush_l2", [False, True])
def test_cuda_events_lie_within_host_time(flush_l2: bool) -> None:
    a = torch.randn(2048, 2048, device="cuda")
    made = make_clock("cuda", flush_l2=flush_l2)
    made.time(lambda: a @ a, 1, events=True)
    timing = made.time(lambda: a @ a, 1, events=True)
    assert 0 < timing.device_s <= timing.host_s


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs an MPS device")
def test_mps_host_time_waits_for_the_device() -> None:
    a = torch.randn(2048, 2048, device="mps")
    made = make_clock("mps")
    made.time(lambda: a @ a, 1, events=True)
    timing = made.time(lambda: a @ a, 1, events=True)
    assert timing.host_s > 1e-5
    assert timing.device_s > 0


def test_the_timer_is_finer_than_a_call() -> None:
    assert 0 < timer_resolution_s() < 1e-4
    assert 0 < empty_sample_s(make_clock("cpu")) < 1e-4


class Circle:
    """Refers to itself, so that only the collector gives it back."""

    def __init__(self) -> None:
        self.itself = self


def test_collector_is_paused_and_restored() -> None:
    with collector_paused() as collect:
        assert not gc.isenabled()
        watch = weakref.ref(Circle())
        assert watch() is not None
        collect()
        assert watch() is None
    assert gc.isenabled()


@pytest.fixture
def frozen() -> Iterator[int]:
    """Some objects are frozen: Python 3.12 starts with hundreds, a fork server's child has more."""
    gc.freeze()
    yield gc.get_freeze_count()
    gc.unfreeze()


def test_what_was_alive_before_a_pause_can_be_collected_after_it(frozen: int) -> None:
    circle = Circle()
    watch = weakref.ref(circle)
    with collector_paused():
        pass
    del circle
    gc.collect()
    assert watch() is None
    assert gc.get_freeze_count() == pytest.approx(frozen, abs=100), "what others froze stays so"


def test_collecting_in_a_pause_leaves_what_was_alive_before_alone() -> None:
    """So that it takes microseconds, however much a process holds."""
    with collector_paused() as collect:
        circle, looked = Circle(), []
        collect()
        watch = weakref.ref(circle)
        del circle
        gc.callbacks.append(lambda phase, info: looked.append(info["generation"]))
        try:
            collect()
        finally:
            gc.callbacks.pop()
        assert max(looked) < 2, "not the oldest generation"
        assert watch() is not None
    gc.collect()
    assert watch() is None


def test_collector_is_restored_after_an_exception() -> None:
    with pytest.raises(RuntimeError), collector_paused():
        raise RuntimeError
    assert gc.isenabled()


def test_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
