"""The user's own judgement of a model: their function scores what it returns, example by example.

``evaluate(call)`` calls the model with as many examples as it likes. An engine may know one batch
size alone, so they are cut into batches of the case, and copied into the tensors that it knows.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import _pytree

from torchmodes.planning.user_code import load_function, user_file
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.models.base import seeded
from torchmodes.workloads.structures import Inputs, copy_output

Call = Callable[..., Any]
DEFAULT_MARGIN = 0.005
"""Of scores from 0 to 1: half a point of accuracy."""
_TENSORS = (torch.Tensor, np.ndarray, np.generic, int, float)
"""What `torch.as_tensor` takes as it is meant."""
ROUNDING = 1e-6
"""By which a cosine in fp32 may exceed 1."""


class EvaluationFault(ValueError):
    """The user's function gave no scores; the message names its file, the line and the cause."""


def scores_of(reference: str, call: Call, *, seed: int) -> NDArray[np.float64]:
    """Let the user's function score a model, which `call` runs as `in_batches` does.

    Scores have the shape (examples,), larger is better; truth values are 0 and 1. The seed is that
    of whatever the function draws.

    Raises
    ------
    EvaluationFault
        When it raises, returns anything but one finite number per example, or never runs the model.
    """
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return call(*args, **kwargs)

    try:
        with seeded(seed):
            function = load_function(reference, anew=True)  # each side's scores are its own
            returned = function(counted)
    except Exception as error:
        raise EvaluationFault(_raised_in(user_file(reference), error)) from error
    code = getattr(function, "__code__", None)
    line = f", line {code.co_firstlineno}" if code else ""
    told_as = f"{user_file(reference)}{line}: {reference.split(':')[-1]}()"
    scores = _checked(returned, told_as=told_as)
    if calls == 0:
        raise EvaluationFault(
            f"{told_as} never called the model, so its scores say nothing about it; score what"
            " `call` returns"
        )
    return scores


def margin_of(wanted: float | None, baseline: NDArray[np.float64], *, reference: str) -> float:
    """Return the margin, which only scores from 0 to 1 have by default.

    Raises
    ------
    EvaluationFault
        When it is not set and eager's scores are not within 0 and 1.
    """
    if wanted is not None:
        return wanted
    if baseline.min() < -ROUNDING or baseline.max() > 1 + ROUNDING:
        raise EvaluationFault(
            f"{reference} scores eager from {baseline.min():.3g} to {baseline.max():.3g}: outside"
            " of 0 to 1 there is no margin by default; set quality_margin, in the scores' unit"
        )
    return DEFAULT_MARGIN


def in_batches(
    function: Call,
    example: Inputs,
    batch_size: int,
    *,
    context: Callable[[], AbstractContextManager[Any]],
) -> Call:
    """Return what calls a model in its mode with any number of examples, in batches of one size.

    It takes the model's arguments, as tensors or arrays, and returns its output on the host with
    half-precision numbers as fp32; `ValueError` where these cannot be batches of the example.

    Parameters
    ----------
    example
        Inputs of one batch; examples are copied into its very tensors. The last batch is filled up
        with its first examples.
    batch_size
        How many examples it holds: the length of each tensor's first dimension of that length.
    """

    def one(given: list[Any]) -> Any:
        with torch.no_grad():
            for target, value in zip(example.tensors(), given, strict=True):
                target.copy_(value)
        with context():
            output = copy_output(example.call(function))
        return _pytree.tree_map_only(torch.Tensor, _readable, output)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = _matched(Inputs(args, kwargs), example)
        parts = [(value, _axis(value, like, batch_size)) for value, like in given]
        counts = {value.shape[axis] for value, axis in parts if axis is not None}
        if len(counts) > 1:
            raise ValueError(
                f"the model was called with {' and '.join(map(str, sorted(counts)))} examples in"
                " one call"
            )
        count = counts.pop() if counts else batch_size
        outputs = []
        for start in range(0, count, batch_size):
            kept = min(batch_size, count - start)
            output = one([_batch(*part, start, batch_size) for part in parts])
            outputs.append((output, kept))
        return outputs[0][0] if count == batch_size else _joined(outputs, batch_size)

    return call


def _axis(value: torch.Tensor, like: torch.Tensor, batch_size: int) -> int | None:
    """Return the dimension along which the examples of a tensor lie; None: it has none."""
    shape, known = tuple(value.shape), tuple(like.shape)
    if value.is_floating_point() and not like.is_floating_point():
        raise ValueError(f"the model was called with {value.dtype} where it takes {like.dtype}")
    axis = known.index(batch_size) if batch_size in known else None
    fits = shape == known
    if axis is not None and len(shape) == len(known) and shape[axis] > 0:
        fits = shape[:axis] + shape[axis + 1 :] == known[:axis] + known[axis + 1 :]
    if not fits:
        among = "" if axis is None else f", of which dimension {axis} may have any length but 0"
        raise ValueError(
            f"the model was called with a tensor of shape {shape}, and its inputs have the shape"
            f" {known}{among}"
        )
    return axis


def _batch(value: torch.Tensor, axis: int | None, start: int, size: int) -> torch.Tensor:
    if axis is None:
        return value
    places = torch.arange(start, start + size) % value.shape[axis]
    return value.index_select(axis, places.to(value.device))


def _matched(given: Inputs, example: Inputs) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pair the tensors of a call with those of the example."""
    if given.kwargs.keys() == example.kwargs.keys():
        given = Inputs(given.args, {name: given.kwargs[name] for name in example.kwargs})
    if fault := _unlike(given, example):
        raise ValueError(f"the model was called with no tensor: {fault}")
    leaves, structure = _pytree.tree_flatten((given.args, given.kwargs))
    known, known_structure = _pytree.tree_flatten((example.args, example.kwargs))
    if structure != known_structure:
        raise ValueError(
            f"the model was called with {_described(given)}; it takes {_described(example)}"
        )
    return [
        (torch.as_tensor(value), like)
        for value, like in zip(leaves, known, strict=True)
        if isinstance(like, torch.Tensor)
    ]


def _unlike(given: Inputs, example: Inputs) -> str | None:
    """Name the first argument that is no tensor where the model takes one."""
    pairs = [*enumerate(zip(given.args, example.args, strict=False), 1)]
    named = [(repr(name), (v, example.kwargs.get(name))) for name, v in given.kwargs.items()]
    for name, (value, like) in [*pairs, *named]:
        if isinstance(like, torch.Tensor) and not isinstance(value, _TENSORS):
            return f"argument {name} is a {type(value).__name__}; give a tensor or an array"
    return None


def _described(inputs: Inputs) -> str:
    named = f" and the names {', '.join(inputs.kwargs)}" if inputs.kwargs else ""
    return f"{len(inputs.args)} arguments by position{named}"


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _joined(outputs: list[tuple[Any, int]], batch_size: int) -> Any:
    """Put the outputs of several batches together, without what filled the last one up."""
    flat = [(_pytree.tree_flatten(output), kept) for output, kept in outputs]
    (_, structure), _ = flat[0]
    joined = []
    for leaves in zip(*(leaves for (leaves, _), _ in flat), strict=True):
        if not isinstance(leaves[0], torch.Tensor):
            joined.append(leaves[0])
            continue
        shape = tuple(leaves[0].shape)
        if batch_size not in shape:
            raise ValueError(
                f"the model returns a tensor of shape {shape}, in which no dimension is that of"
                f" the {batch_size} examples of a batch: call it with exactly {batch_size}"
            )
        axis = shape.index(batch_size)
        kept = [leaf.narrow(axis, 0, n) for leaf, (_, n) in zip(leaves, flat, strict=True)]
        joined.append(torch.cat(kept, dim=axis))
    return _pytree.tree_unflatten(joined, structure)


def _raised_in(file: Path, error: Exception) -> str:
    """Say what was raised, and in which line of the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == file.resolve()]
    place = f"{file}, line {lines[-1]}: " if lines else ""
    return f"{place}{reason_of(error)}"


def _checked(returned: Any, *, told_as: str) -> NDArray[np.float64]:
    if returned is None:
        raise EvaluationFault(f"{told_as} returned None; it must return one number per example")
    if isinstance(returned, torch.Tensor):
        returned = returned.detach().cpu().double().numpy()
    try:
        scores = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError):
        raise EvaluationFault(
            f"{told_as} returned {type(returned).__name__}; it must return one number per example"
        ) from None
    if scores.ndim != 1 or scores.size == 0:
        raise EvaluationFault(
            f"{told_as} returned scores of shape {scores.shape}; it must return one number per"
            " example, shape (examples,)"
        )
    if broken := int((~np.isfinite(scores)).sum()):
        raise EvaluationFault(
            f"{told_as} returned {broken} of {scores.size} scores that are NaN or infinite"
        )
    return scores
