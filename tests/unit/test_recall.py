"""A mode is timed on inputs that are new to it, and at once again: what computes takes as long."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from torchmodes.measure.clock import Timing
from torchmodes.measure.input_sets import NEW_SETS, InputSets
from torchmodes.measure.recall import recall
from torchmodes.workloads.structures import Inputs


def inputs(seed: int) -> Inputs:
    return Inputs((torch.full((2,), float(seed)),), {})


class Side:
    """Whose call takes as long as it is told: for inputs that are new to it, and for others."""

    def __init__(self, *, new_s: float, seen_s: float) -> None:
        self.inputs = inputs(42)
        self.new_s, self.seen_s = new_s, seen_s
        self.seen = {42.0}
        self.calls = 0

    def take(self, number: int) -> Inputs:
        return self.inputs

    def restart(self) -> None:
        """Nothing of it depends on earlier calls but what it has seen."""

    def call(self) -> float:
        self.calls += 1
        value = self.inputs.args[0][0].item()
        took_s = self.seen_s if value in self.seen else self.new_s
        self.seen.add(value)
        return took_s


class Clock:
    def time(self, call, calls, *, events=False) -> Timing:
        return Timing(host_s=call(), device_s=None)


SETS = InputSets(SimpleNamespace(batches=(inputs(42),), draw=inputs), seed=42)
EAGER = {"new_s": 1.0, "seen_s": 1.0}


@pytest.mark.parametrize(
    ("speed_up", "mode", "slower"),
    [
        (10.0, {"new_s": 1.0, "seen_s": 0.1}, 10.0),
        (1.5, {"new_s": 1.0, "seen_s": 0.66}, pytest.approx(1.5, abs=0.02)),
        (10.0, {"new_s": 0.1, "seen_s": 0.1}, None),  # it computes as fast what it has not seen
        (10.0, {"new_s": 0.3, "seen_s": 0.1}, None),  # new data are not in the caches
        (1.1, {"new_s": 1.0, "seen_s": 0.9}, None),  # within what single calls vary by
    ],
)
def test_what_is_fast_on_seen_inputs_alone_is_recognised(speed_up, mode, slower):
    candidate = Side(**mode)
    assert recall(Side(**EAGER), candidate, SETS, clock=Clock(), speed_up=speed_up) == slower


def test_an_honest_mode_costs_twelve_calls():
    baseline, candidate = Side(**EAGER), Side(new_s=0.1, seen_s=0.1)
    recall(baseline, candidate, SETS, clock=Clock(), speed_up=10.0)
    assert (baseline.calls, candidate.calls) == (0, 12)


def test_a_model_that_is_slow_on_new_inputs_in_eager_too_is_no_fault_of_the_mode():
    slow_at_first = {"new_s": 1.0, "seen_s": 0.1}
    sides = Side(**slow_at_first), Side(**slow_at_first)
    assert recall(*sides, SETS, clock=Clock(), speed_up=2.0) is None


def test_both_sides_hold_the_timed_inputs_afterwards():
    sides = Side(**EAGER), Side(new_s=1.0, seen_s=0.1)
    recall(*sides, SETS, clock=Clock(), speed_up=10.0)
    assert [side.inputs.args[0][0].item() for side in sides] == [42.0, 42.0]
    assert set(sides[0].seen) == {42.0, *(42.0 + number for number in NEW_SETS)}


class UntilWritten(Side):
    """A side that keeps its output until somebody writes into its inputs."""

    version = -1

    def call(self) -> float:
        version, self.version = self.version, self.inputs.args[0]._version
        return self.seen_s if version == self.version else self.new_s


def test_what_is_kept_until_its_inputs_are_written_is_recognised():
    candidate = UntilWritten(new_s=1.0, seen_s=0.1)
    assert recall(Side(**EAGER), candidate, SETS, clock=Clock(), speed_up=10.0) == 10.0
