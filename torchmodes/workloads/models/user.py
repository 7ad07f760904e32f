"""The user's own model: two functions in a file of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from torchmodes.planning.user_code import load_function, user_file
from torchmodes.workloads.batches import BatchSchedule, difference
from torchmodes.workloads.models.base import BuiltModel, in_mode, seeded
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
        # Anew: instances have nothing in common. A model may ask its inputs for their class.
        factory = load_function(spec["factory"], anew=True)
        one_file = user_file(spec["factory"]).resolve() == user_file(reference).resolve()
        function = load_function(reference, anew=not one_file)
    with seeded(seed):
        module = factory(**spec["options"])
        if not isinstance(module, nn.Module):
            remedy = "; return its .module()" if isinstance(module, ExportedProgram) else ""
            raise ValueError(
                f"{spec['factory']} returned {type(module).__name__}, not a torch.nn.Module{remedy}"
            )
        _refuse_meta([*module.parameters(), *module.buffers()], told_as=spec["factory"])
        if compiled := [name or "it" for name, part in module.named_modules() if _compiled(part)]:
            raise ValueError(
                f"{spec['factory']} returned a model that torch.compile was given ({compiled[0]}):"
                " what is called eager would be compiled; return the model as it is, for modes"
                " compile it"
            )
        schedule = None
        if spec["inputs"]:
            example = _checked(function(batch_size), batch_size, told_as=told_as)
        else:
            schedule = _schedule(function(batch_size), batch_size, told_as=told_as)
            example = schedule.batches[0]
        initialise_lazy(in_mode(module, training=False), example)

    def draw(seed: int) -> Inputs:
        if schedule is not None:
            return example
        with seeded(seed):
            return _checked(function(batch_size), batch_size, told_as=told_as)

    return BuiltModel(module, example, spec["item"], batch_size, draw, schedule=schedule)


def _refuse_meta(tensors: Iterable[torch.Tensor], *, told_as: str) -> None:
    if any(tensor.is_meta for tensor in tensors):
        raise ValueError(
            f"{told_as} returned tensors on the device meta, which have shapes and no values: make"
            " them on the CPU"
        )


def _compiled(part: nn.Module) -> bool:
    """Whether a module is what `torch.compile` returned, or was compiled in place."""
    return "_orig_mod" in part._modules or part._compiled_call_impl is not None


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
    _refuse_meta(tensors, told_as=told_as)
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
