"""What the system did during each side's calls: page faults, time in the kernel, preemptions.

Whether an allocator gives memory back after each call and fetches it again at the next is decided
once per process, by what it happened to allocate before; with glibc's this costs more than most
modes gain (docs/gotchas.md). These counters show which processes do so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

from torchmodes.results.records import Usage

if sys.platform != "win32":
    import resource


class Rusage(NamedTuple):
    """Of this process and all its threads so far, by getrusage(2)."""

    minor_faults: int
    involuntary_switches: int
    user_s: float
    system_s: float


def read_rusage() -> Rusage | None:
    """Read the counters; None on a system that has none."""
    if sys.platform == "win32":
        return None
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Rusage(used.ru_minflt, used.ru_nivcsw, used.ru_utime, used.ru_stime)


class UsageMeter:
    """Adds up what the calls of one side used; to read it takes a microsecond outside of calls."""

    LEAST_CPU_S = 0.1
    """Processor time comes in ticks of up to ten milliseconds: a share of less says nothing."""

    def __init__(self, read: Callable[[], Rusage | None] = read_rusage) -> None:
        self._read = read
        self._before: Rusage | None = None
        self._used = Rusage(0, 0, 0.0, 0.0)
        self._calls = 0

    def begin(self) -> None:
        """Note where the counters stand before some calls."""
        self._before = self._read()

    def end(self, calls: int) -> None:
        """Add what so many calls used since."""
        after = self._read()
        if self._before is None or after is None:
            return
        self._calls += calls
        readings = zip(self._used, self._before, after, strict=True)
        self._used = Rusage._make(used + now - before for used, before, now in readings)

    @property
    def usage(self) -> Usage | None:
        """What a call used; None without a counter or a call."""
        if not self._calls:
            return None
        used = self._used
        cpu_s = used.user_s + used.system_s
        return Usage(
            minor_faults=used.minor_faults / self._calls,
            involuntary_switches=used.involuntary_switches / self._calls,
            system_share=used.system_s / cpu_s if cpu_s >= self.LEAST_CPU_S else None,
        )


MANY_FAULTS = 100
"""Pages a call. 992 of them cost 2.8 ms of a call that takes 1.7 without (docs/gotchas.md)."""
MUCH_SYSTEM_TIME = 0.05


def churn(side: str, usage: Usage | None) -> list[str]:
    """Warn of a side whose memory is given back and fetched again at every call."""
    if usage is None or usage.minor_faults < MANY_FAULTS:
        return []
    if usage.system_share is not None and usage.system_share < MUCH_SYSTEM_TIME:
        return []
    share = "" if usage.system_share is None else f" ({100 * usage.system_share:.0f} % of its time)"
    faults = f"{usage.minor_faults:,.0f} page faults per call{share}"
    remedy = "docs/gotchas.md says how to avoid it"
    return [f"{side} gives memory back and fetches it again: {faults}; {remedy}"]
