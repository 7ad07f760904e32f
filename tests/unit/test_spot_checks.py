"""Outputs of timed calls: each is looked at, as long as looking takes next to no time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from torchmodes.measure.spot_checks import SpotChecks

RIGHT = torch.arange(6.0).reshape(2, 3) + 1
ROUNDED = RIGHT * (1 + 1e-6)


def checks(now: Callable[[], float] | None = None) -> SpotChecks:
    """Return checks of two sides whose calls are named; each look takes one tick by default."""
    return SpotChecks(
        {"eager": RIGHT, "mode": ROUNDED},
        expected=RIGHT,
        precision="fp32",
        device="cpu",
        now=now or itertools.count(0, 0.0).__next__,
    )


@pytest.mark.parametrize("output", [ROUNDED, RIGHT, [ROUNDED], RIGHT * (1 + 1e-5)])
def test_an_output_within_tolerance_is_right(output):
    checked = checks()
    checked.look("mode", output)
    assert checked.wrong is None
    assert checked.compared == 1


@pytest.mark.parametrize("side", ["eager", "mode"])
def test_the_first_output_that_is_wrong_is_kept(side):
    checked = checks()
    checked.look(side, RIGHT * 1.1)
    checked.look(side, RIGHT * 2)
    assert checked.wrong is not None
    assert not checked.wrong.within_tolerance
    assert checked.wrong.reason.startswith("while it was timed: output: relative L2 error 0.1")
    assert checked.compared == 1


def test_outputs_that_take_long_to_compare_are_looked_at_now_and_then():
    """A look of half a second is repeated when twenty-five have gone by."""
    clock = {"s": 0.0}

    def now() -> float:
        clock["s"] += 0.5  # twice in each look that is taken
        return clock["s"]

    checked = checks(now)
    for _ in range(200):
        clock["s"] += 9.5
        checked.look("mode", ROUNDED)
    assert 75 <= checked.compared <= 85


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ([RIGHT, "dog", 3], "output[1] is 'dog', the baseline's is 'cat'"),
        ([RIGHT, "cat", 4], "output[2]: 100 % of the integers differ"),
        ([RIGHT, "cat", True], "the output holds a bool, unlike any before"),
        ([RIGHT, "cat"], "the output holds 2 values, the baseline's 3"),
    ],
)
def test_what_lies_among_tensors_is_looked_at_too(output, told):
    right = [RIGHT, "cat", 3]
    checked = SpotChecks({"mode": right}, expected=right, precision="fp32", device="cpu")
    checked.look("mode", [RIGHT.clone(), "cat", 3])
    assert checked.wrong is None
    checked = SpotChecks({"mode": right}, expected=right, precision="fp32", device="cpu")
    checked.look("mode", output)
    assert checked.wrong is not None
    assert checked.wrong.reason.startswith(f"while it was timed: {told}")
    assert checked.of == "mode"
