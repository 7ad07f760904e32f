"""A clock that stands still while this process is stopped, as in a suspended machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from torchmodes.measure.load import family_seconds

LEAST_STOP_S = 1.0
STOPPED_SHARE = 0.25
"""Of the processor time that it usually gets: a process with less, for a second, did not run."""
LEAST_COMPUTING = 0.02
"""Cores that it uses at the least: one that mostly waits cannot be told from a stopped one."""
MOST_STOPS = 10
"""More are not forgiven, or a budget would never be spent."""


def passing_time() -> float:
    """Return seconds that go on while the machine is suspended, where the system has such a clock.

    ``time.monotonic`` stands still then, on Linux as on macOS; afterwards caches are cold.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def started_seconds() -> float:
    """Return the processor time of all that this process started."""
    times = os.times()
    return family_seconds(os.getpid()) - times.user - times.system


class RunningClock:
    """Seconds in which this process ran, and those in which it was stopped.

    A process that computes and then, between two readings, gets less than a quarter of its usual
    processor time for a second or more was not running. (Waiting for a compiler that it started is
    running.) So it is told apart from a slow call without a thread or a signal in the process that
    is measured. One that mostly waits, for a device or another machine, is taken to run always.

    It reads the seconds that pass, those of this process's processor time, and (seldom, because it
    takes some milliseconds) those of all that it started.
    """

    def __init__(
        self,
        passing: Callable[[], float] = passing_time,
        used: Callable[[], float] = time.process_time,
        used_by_started: Callable[[], float] = started_seconds,
    ) -> None:
        self._passing, self._used, self._used_by_started = passing, used, used_by_started
        self._started_s = used_by_started()
        self._began = self._read_at = passing()
        self._read_used_s = used()
        self._ran_s = self._computed_s = 0.0
        self.stopped_s = 0.0
        self._stops = 0

    def now(self) -> float:
        """Return the seconds in which it ran so far."""
        at, used_s = self._passing(), self._used()
        passed_s, computed_s = at - self._read_at, used_s - self._read_used_s
        self._read_at, self._read_used_s = at, used_s
        if passed_s >= LEAST_STOP_S and self._was_stopped(passed_s, computed_s):
            self.stopped_s += passed_s
            self._stops += 1
        else:
            self._ran_s += passed_s
            self._computed_s += computed_s
        return at - self._began - self.stopped_s

    def _was_stopped(self, passed_s: float, computed_s: float) -> bool:
        usual = self._computed_s / self._ran_s if self._ran_s else 0.0
        if usual < LEAST_COMPUTING or self._stops == MOST_STOPS:
            return False
        least_s = STOPPED_SHARE * usual * passed_s
        if computed_s >= least_s:
            return False
        started_s = self._used_by_started()
        by_started_s, self._started_s = started_s - self._started_s, started_s
        return computed_s + by_started_s < least_s
