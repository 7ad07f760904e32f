"""Both sides run the same inputs, and no side finds the other's answer."""

from __future__ import annotations

import contextlib
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import torch

from torchmodes.measure.input_sets import InputSets, agree
from torchmodes.workloads.models.base import whole_output
from torchmodes.workloads.structures import Inputs


def inputs(seed: int) -> Inputs:
    return Inputs((torch.full((2,), float(seed)),), {})


def side(call: Any) -> Any:
    """Return what `agree` asks of a workload, whose call takes a tensor."""
    taken = inputs(0)
    return SimpleNamespace(
        built=SimpleNamespace(align=None, judged=whole_output),
        call=lambda: taken.call(call),
        context=contextlib.nullcontext,
        restart=lambda: None,
        take=lambda number: taken,
    )


def test_the_baselines_output_lives_while_the_other_side_runs():
    """In memory that it left, a mode that writes nothing would find the right answer."""
    given: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def eager(x):
        output = x * 2
        given.append(weakref.ref(output))
        return output

    def mode(x):
        gc.collect()
        alive.append(given[-1]() is not None)
        return x * 2

    sets = InputSets(SimpleNamespace(batches=(inputs(42),), draw=inputs), seed=42)
    found = list(agree(side(eager), side(mode), sets, (1, 2), precision="fp32"))
    assert all(numerics.within_tolerance for numerics in found)
    assert alive == [True, True]
