"""The input sets of a case, on which the mode's outputs are compared with eager's.

One output can agree by chance: that of a graph that lost its input, of a branch that a trace froze,
of a mode that remembers. So both sides run several sets of inputs, copied into the very tensors
that the timed calls take, and do so again after they were timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

import torch

from torchmodes.measure.numerics import compare, incomparable
from torchmodes.results.records import Numerics
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.modes.base import Refused
from torchmodes.workloads.structures import Inputs, copy_output, dense, tensors_of
from torchmodes.workloads.workload import Workload

NEW_SETS = (4, 5, 6, 7, 8, 9)
"""Numbers of input sets that no comparison uses."""
VARIES = 0.1
"""Share of the tolerance by which outputs for several inputs differ that are not all the same."""


class InputSets:
    """Inputs of one case, by number; 0 is the example that the model came with, k is of seed + k.

    Those of a schedule are its batches, counted on and on: beyond the last, with the items moved.
    """

    def __init__(self, built: BuiltModel, *, seed: int) -> None:
        self._batches = [
            batch.map(lambda tensor: tensor.detach().clone()) for batch in built.batches
        ]
        self._example = self._batches[0]
        self._draw, self._seed = built.draw, seed
        self.batches = len(self._batches)
        self.origin, self.caveat = self._find_origin()

    def _find_origin(
        self,
    ) -> tuple[Literal["drawn", "rearranged", "example", "schedule"], str | None]:
        if self.batches > 1:
            return "schedule", None
        other = self._draw(self._seed + 1)
        if not self._example.is_like(other):
            return "example", (
                "its inputs have other shapes or structures under another seed, so outputs were"
                " compared on the example inputs alone"
            )
        if not self._example.equals(other):
            if not other.equals(self._draw(self._seed + 1)):
                raise Refused(
                    "its inputs are others each time, even under one seed: both sides cannot be"
                    " given the same",
                    "let `inputs` draw by torch, random or numpy.random, which are seeded before"
                    " each call, or by a generator that it seeds itself, and keep nothing",
                )
            return "drawn", None
        if self._example.equals(_rolled(self._example, 1)):
            return "example", "its inputs are the same under every seed, and cannot be rearranged"
        return "rearranged", (
            "its inputs are the same under every seed: further sets are these, rolled along"
            " their last dimension"
        )

    def numbers(self, wanted: Iterable[int]) -> Iterator[int]:
        """Yield which of the wanted sets there are."""
        return (number for number in wanted if self.origin != "example" or number == 0)

    def new(self) -> tuple[int, ...]:
        """Return the numbers of some sets that no comparison uses; there may be none."""
        if self.batches == 1:
            return tuple(self.numbers(NEW_SETS))
        sizes = [size for batch in self._batches for size in batch.tensors()[0].shape[:1]]
        moved = self.batches * (min(sizes) if min(sizes) > 1 else len(NEW_SETS))
        return tuple(range(self.batches + 2, moved))[: len(NEW_SETS)]

    def __getitem__(self, number: int) -> Inputs:
        if self.batches > 1:
            batch = self._batches[number % self.batches]
            return batch.map(partial(_roll, by=number // self.batches, along=0))
        if number == 0:
            return self._example
        if self.origin == "rearranged":
            return _rolled(self._example, number)
        return self._draw(self._seed + number)


def feed(workload: Workload, sets: InputSets, number: int) -> None:
    """Let a workload's next calls take a set of inputs, whatever their tensors hold by now.

    A text that is generated is worked through to the position that is timed.
    """
    fill(workload.take(number), sets[number])
    workload.restart()


@torch.no_grad()
def fill(taken: Inputs, values: Inputs) -> None:
    """Copy the values of inputs into others that are like them."""
    for target, value in zip(taken.tensors(), values.tensors(), strict=True):
        target.copy_(value)


def agree(
    baseline: Workload,
    candidate: Workload,
    sets: InputSets,
    numbers: Iterable[int],
    *,
    precision: str,
    tolerance: float | None = None,
) -> Iterator[Numerics]:
    """Run both sides once on each set of inputs, and compare what they return.

    Both were called equally often so far. `tolerance` is in place of the precision's. Rearranged
    sets that the baseline refuses are left out. In the end a candidate is wrong whose outputs were
    all the same, where the baseline's were not: of outputs that vary little, a constant is within
    tolerance.
    """
    compared = partial(
        compare, precision=precision, align=baseline.built.align, tolerance=tolerance
    )
    first: tuple[Any, Any] | None = None
    constant, varies = True, 0.0
    for number in sets.numbers(numbers):
        try:
            # Kept: in the memory of one that is gone a mode that writes nothing would find it.
            kept = _call_on(baseline, sets, number)
            expected = baseline.built.judged(copy_output(kept), sets[number])
        except Exception:
            if (
                sets.origin == "rearranged" or number >= sets.batches > 1
            ):  # a model may refuse what its own inputs never give
                continue
            raise
        actual = output_on(candidate, sets, number)
        yield (numerics := compared(expected, actual))
        if first is None:
            first = expected, actual
        elif constant := constant and _equal(first[1], actual):
            varies = max(varies, compared(first[0], expected).error)
    if first is not None and constant and varies > VARIES * numerics.tolerance:
        told = "its output is the same for all of them, and eager's is not"
        yield incomparable(told, compared="output", tolerance=numerics.tolerance)


def _equal(one: Any, other: Any) -> bool:
    ours, theirs = tensors_of(one), tensors_of(other)
    return len(ours) == len(theirs) and all(
        torch.equal(dense(a), dense(b)) for a, b in zip(ours, theirs, strict=True)
    )


def output_on(workload: Workload, sets: InputSets, number: int) -> Any:
    """Run a side once on a set of inputs, and return what counts of its output on the host."""
    return workload.built.judged(copy_output(_call_on(workload, sets, number)), sets[number])


def _call_on(workload: Workload, sets: InputSets, number: int) -> Any:
    feed(workload, sets, number)
    with workload.context():
        return workload.call()


def together(
    first: Numerics, others: Iterator[Numerics], sets: InputSets, *, when: str
) -> Numerics:
    """Join comparisons into the worst of them; the first that is wrong ends the comparing.

    The others are made as they are asked for; `when` (``on other inputs``) begins the reason where
    one of them is wrong.
    """
    worst, count = first, first.input_sets
    for numerics in others:
        count += 1
        if not numerics.within_tolerance:
            worst = numerics.model_copy(update={"reason": f"{when}: {numerics.reason}"})
            break
        worst = max(worst, numerics, key=lambda compared: compared.error)
    return worst.model_copy(update={"input_sets": count, "inputs": sets.origin})


def _rolled(inputs: Inputs, by: int) -> Inputs:
    return inputs.map(partial(_roll, by=by))


def _roll(tensor: torch.Tensor, *, by: int, along: int = -1) -> torch.Tensor:
    """Move values along the last, or `along` the first, dimension that has several, if any has."""
    if tensor.layout != torch.strided:
        return tensor
    longer = [dimension for dimension, size in enumerate(tensor.shape) if size > 1]
    return torch.roll(tensor, by, dims=longer[along]) if longer else tensor
