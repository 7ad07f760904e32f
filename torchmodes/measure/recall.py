"""Is a mode fast at computing, or at answering inputs that it has seen?

All timed calls of a sample get the same inputs. A mode that caches its outputs, by the values of
its inputs or until somebody writes into them, is right, and as fast as a look-up. So a mode that
seems faster is also timed on inputs that are new to it, and then twice more on the same ones: a
mode that computes takes equally long for all three.
"""

from __future__ import annotations

import math
from statistics import median

import torch

from torchmodes.measure.clock import Clock
from torchmodes.measure.input_sets import InputSets, feed, fill
from torchmodes.workloads.workload import Workload

LEAST_GAIN = 1.1
"""A speed-up that is smaller is not looked into: a single call varies by as much."""


def recall(
    baseline: Workload, candidate: Workload, sets: InputSets, *, clock: Clock, speed_up: float
) -> float | None:
    """Return how much slower a mode is on new inputs, where that explains its speed-up.

    Both sides are warm. None of an honest mode, mostly after three calls: the first new inputs on
    which it is slower by less than half of what it seems faster by, in logarithms, say so.
    """
    limit = math.sqrt(speed_up)
    if limit < LEAST_GAIN or not (new := sets.new()):
        return None
    slower = []
    for number in new:
        slower.append(_first_against_next(candidate, sets, number, clock))
        if slower[-1] < limit:
            return None
    by_itself = median(_first_against_next(baseline, sets, number, clock) for number in new)
    return median(slower) if median(slower) > limit * by_itself else None


def _first_against_next(workload: Workload, sets: InputSets, number: int, clock: Clock) -> float:
    """Time a call on new inputs over the same again, each after a call on the old ones.

    And one on inputs that were written over the same where nothing was, but as much elsewhere. The
    larger ratio counts, and of times to divide by the smaller: one may have been interrupted.
    """
    times = []
    for _ in range(3):
        feed(workload, sets, 0)
        clock.time(workload.call, 1)
        feed(workload, sets, number)
        times.append(clock.time(workload.call, 1).host_s)
    elsewhere = sets[number].map(torch.clone)
    written, left = [], []
    for _ in range(3):
        feed(workload, sets, number)
        written.append(clock.time(workload.call, 1).host_s)
        fill(elsewhere, sets[number])
        left.append(clock.time(workload.call, 1).host_s)
    feed(workload, sets, 0)
    return max(times[0] / min(times[1:]), min(written) / min(left))
