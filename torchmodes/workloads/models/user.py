"""The user's own model: two functions in a file of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from torchmodes.planning.user_code import load_function
from torchmodes.workloads.batches import BatchSchedule, difference
from torchmodes.workloads.models.base import BuiltModel, seeded
from torchmodes.workloads.models.lazy import initialise_lazy
from torchmodes.workloads.structures import Inputs


def build(
    spec: dict[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Call the user's factory and inputs functions, both under the seed.

    Raises
    ------
    ValueError
        When the factory does not return a module, the inputs are not a batch of that size, or
        lazy parameters take no shape from them.
    """
    reference = spec["inputs"] or spec["schedule"]
    told_as = f"{reference}({batch_size})"
    with seeded(seed):  # apart: what a file imports may draw, and is imported once
        factory, function = load_function(spec["factory"]), load_function(reference)
    with seeded(seed):
        module = factory(**spec["options"])
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"{spec['factory']} returned {type(module).__name__}, not a torch.nn.Module"
            )
        schedule = None
        if spec["inputs"]:
            example = _checked(function(batch_size), batch_size, told_as=told_as)
        else:
            schedule = _schedule(function(batch_size), batch_size, told_as=told_as)
            example = schedule.batches[0]
        initialise_lazy(module.eval(), example)

    def draw(seed: int) -> Inputs:
        if schedule is not None:
            return example
        with seeded(seed):
            return _checked(function(batch_size), batch_size, told_as=told_as)

    return BuiltModel(module, example, spec["item"], batch_size, draw, schedule=schedule)


def _schedule(value: Any, batch_size: int, *, told_as: str) -> BatchSchedule:
    """Wrap the batches that the user's function returned, if they differ in nothing but sizes."""
    if not isinstance(value, (tuple, list)) or not value:
        kind = "an empty list" if isinstance(value, (tuple, list)) else type(value).__name__
        raise ValueError(f"{told_as} returned {kind}; it must return a list of batches")
    batches = tuple(
        _checked(batch, batch_size, told_as=f"batch {number} of {told_as}")
        for number, batch in enumerate(value)
    )
    for number, batch in enumerate(batches):
        if unlike := difference(batches[0], batch):
            raise ValueError(
                f"{told_as}: batches 0 and {number} differ in {unlike}; in one schedule only sizes"
                " may differ"
            )
    return BatchSchedule(batches)


def _checked(value: Any, batch_size: int, *, told_as: str) -> Inputs:
    """Wrap what the user's inputs function returned, if a model can be called with it."""
    if not isinstance(value, (torch.Tensor, tuple, list, Mapping, Inputs)):
        raise ValueError(
            f"{told_as} returned {type(value).__name__}; it must return a tensor, a tuple of"
            " positional arguments, or a dict of keyword arguments"
        )
    if isinstance(value, Mapping) and (other := [key for key in value if not isinstance(key, str)]):
        raise ValueError(f"{told_as} returned a dict with the key {other[0]!r}, no argument's name")
    inputs = Inputs.of(value)
    tensors = inputs.tensors()
    if any(tensor.is_nested and tensor.layout == torch.strided for tensor in tensors):
        raise ValueError(
            f"{told_as} returned a nested tensor that has no shape; make it with"
            " layout=torch.jagged, or pad it"
        )
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if not shapes:
        raise ValueError(f"{told_as} returned no tensor at all")
    # Any dimension will do: a recurrent network may have time before the batch.
    if not any(batch_size in shape for shape in shapes):
        raise ValueError(
            f"{told_as} returned no tensor with a dimension of {batch_size}, its batch size; it"
            f" returned {', '.join(map(str, shapes))}"
        )
    return inputs
