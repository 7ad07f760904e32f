"""Lazy parameters, which take their shape from the first input: given it before anything copies."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedBuffer, is_lazy

from torchmodes.results.reasons import reason_of
from torchmodes.workloads.structures import Inputs


def initialise_lazy(module: nn.Module, inputs: Inputs) -> None:
    """Give lazy parameters and buffers their shape and their first values, drawn from the seed.

    A copy of the model runs forward once, to learn what reaches its lazy modules; of the model
    itself nothing runs but their initialisation, so that no other state of it changes. The model is
    on the CPU and in the mode (training or evaluation) that it will run in; inputs do not change.

    Raises
    ------
    ValueError
        When the model cannot be copied or run, or some stay without a shape.
    """
    if not _lazy_names(module):
        return
    try:
        trial, given = _copied(module, inputs)
        reached = _reached(trial, given)
    except Exception as error:  # a user's model may raise anything
        raise ValueError(
            f"{_few(_lazy_names(module))} have no shape before a first forward pass, and that"
            f" fails ({reason_of(error)}); {_REMEDY}"
        ) from error
    parts = dict(module.named_modules())
    for name, given in reached.items():
        lazy = parts[name]
        assert isinstance(lazy, LazyModuleMixin)
        # What PyTorch does at the module's first call.
        lazy._infer_parameters(lazy, given.args, given.kwargs)
    tried = _tensors(trial)
    for name, tensor in _tensors(module).items():
        if is_lazy(tensor) and not is_lazy(tried[name]):  # the model's own forward gave it a shape
            tensor.materialize(tried[name].shape)
            tensor.data.copy_(tried[name])
    if left := _lazy_names(module):
        raise ValueError(
            f"{_few(left)} have no shape after a forward pass of the inputs, which does not reach"
            f" them; {_REMEDY}"
        )


_REMEDY = "give them one in the factory, such as nn.Linear for nn.LazyLinear"


def _copied(module: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
    # PyTorch copies a parameter that has no shape, but not a buffer.
    shapeless = {
        id(buffer): UninitializedBuffer(dtype=buffer.dtype)  # ty: ignore[unknown-argument]
        for buffer in module.buffers()
        if is_lazy(buffer)
    }
    return copy.deepcopy((module, inputs), shapeless)


def _reached(module: nn.Module, inputs: Inputs) -> dict[str, Inputs]:
    """Run a model, and return what its lazy modules were first called with, in that order."""
    found: dict[str, Inputs] = {}

    def keep(name: str, part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.setdefault(name, Inputs(args, kwargs))

    hooks = [
        part.register_forward_pre_hook(partial(keep, name), with_kwargs=True)
        for name, part in module.named_modules()
        if isinstance(part, LazyModuleMixin)
    ]
    with torch.no_grad():
        inputs.call(module)
    for hook in hooks:
        hook.remove()
    return found


def _lazy_names(module: nn.Module) -> list[str]:
    """Name the parameters and buffers that have no shape yet."""
    return [name for name, tensor in _tensors(module).items() if is_lazy(tensor)]


def _tensors(module: nn.Module) -> dict[str, Any]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _few(names: list[str]) -> str:
    more = len(names) - 3
    return "the parameters " + ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
