"""Page faults and lost turns of each side's calls, told from those of everything around them."""

from __future__ import annotations

import mmap
import sys

import pytest

from torchmodes.measure.usage import Rusage, UsageMeter, churn
from torchmodes.results.records import Usage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")


def test_fresh_memory_costs_a_fault_a_page():
    meter = UsageMeter()
    for _ in range(10):
        meter.begin()
        memory = mmap.mmap(-1, 100 * mmap.PAGESIZE)
        for page in range(100):
            memory[page * mmap.PAGESIZE] = 1
        meter.end(1)
        memory.close()
    assert meter.usage is not None
    assert 95 <= meter.usage.minor_faults <= 120


def test_what_happens_between_calls_is_nobodys():
    readings = iter(
        [
            Rusage(0, 0, 0.0, 0.0),
            Rusage(10, 1, 0.3, 0.1),
            Rusage(1000, 90, 9.0, 9.0),  # the other side, in the meantime
            Rusage(1030, 93, 9.3, 9.1),
        ]
    )
    meter = UsageMeter(lambda: next(readings))
    for calls in (1, 3):
        meter.begin()
        meter.end(calls)
    assert meter.usage is not None
    assert meter.usage.minor_faults == 10
    assert meter.usage.involuntary_switches == 1
    assert meter.usage.system_share == pytest.approx(0.25)


def test_ticks_say_nothing_of_a_moment():
    readings = iter([Rusage(0, 0, 0.0, 0.0), Rusage(0, 0, 0.0, 0.01)])
    meter = UsageMeter(lambda: next(readings))
    meter.begin()
    meter.end(1)
    assert meter.usage is not None
    assert meter.usage.system_share is None


@pytest.mark.parametrize("read", [lambda: None, lambda: Rusage(0, 0, 0.0, 0.0)])
def test_without_counters_or_calls_nothing_is_told(read):
    meter = UsageMeter(read)
    assert meter.usage is None
    meter.begin()
    meter.end(1)
    assert (meter.usage is None) is (read() is None)


@pytest.mark.parametrize(
    ("usage", "warned"),
    [
        (Usage(minor_faults=992, involuntary_switches=0, system_share=0.31), True),
        (Usage(minor_faults=992, involuntary_switches=0, system_share=None), True),
        (Usage(minor_faults=992, involuntary_switches=0, system_share=0.01), False),
        (Usage(minor_faults=3, involuntary_switches=9, system_share=0.31), False),
        (None, False),
    ],
)
def test_a_side_that_fetches_its_memory_at_every_call_is_warned_of(usage, warned):
    assert bool(churn("eager", usage)) is warned


def test_the_warning_says_how_much_and_where_to_read_on():
    (said,) = churn("eager", Usage(minor_faults=992.4, involuntary_switches=0, system_share=0.31))
    assert said.startswith("eager gives memory back and fetches it again: 992 page faults per call")
    assert said.endswith("(31 % of its time); docs/gotchas.md says how to avoid it")
