"""Is the candidate still right? Its output, or its losses, against the baseline's.

The gate is the relative L2 error of every floating tensor of the output, of each item of its first
dimension (a batch's) and of each slice along the others (a position, a class), and the share of the
integers or truth values of every other that differ; the other figures are for the reader. A
non-finite value where the baseline has a finite one is wrong at any precision, as is another text
or name among the tensors.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from numbers import Number
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from torchmodes.results.records import Numerics, largest_weight, most_of_part, weight_of_part
from torchmodes.workloads.models.base import Align
from torchmodes.workloads.structures import dense, tensors_of

OUTPUT_TOLERANCE: Mapping[str, float] = {
    "fp32": 1e-4,
    "tf32": 5e-3,
    "fp16": 5e-3,
    "bf16": 2e-2,
    "int8": 1e-1,
    "int4": 3e-1,
    "fp8": 1.5e-1,
}
"""Largest relative L2 error of an output, and share of integers that differ, by precision.

Honest modes were measured at 5e-6 (fp32), 4e-3 to 8e-3 (bf16) and 2e-2 to 3e-2 (int8) on ResNet50,
GPT-2 and DistilBERT; each limit is 2.5 to 20 times that, and fp32's is a hundredth of a 1 % error.
fp16 and tf32 round 8 times finer than bf16 (10 bits of mantissa against 7): 5e-3 is ten times their
unit roundoff of 2⁻¹¹, as bf16's limit is five times its own, 2⁻⁸. int4 has 16 steps between the
ends of a group of weights: 32 normal ones span 4.1 standard deviations, so that each is off by
4.1 / 15 / √12 = 8 % of one; its limit is four times that, for errors that add up over layers.
fp8 is E4M3, 3 bits of mantissa (P. Micikevicius et al., FP8 formats for deep learning, 2022,
arXiv:2209.05433): rounding is off by 2.7 % of a number (root mean square over mantissas
that are even in their logarithm), a product of two by √2 times that; four times that, again.
"""
FORMATS: Mapping[torch.dtype, str] = {torch.float16: "fp16", torch.bfloat16: "bf16"}
"""Formats of an output that round coarser than fp32, by the precision of that name."""

LOSS_TOLERANCE: Mapping[str, float] = {
    "fp32": 1e-3,
    "tf32": 1e-2,
    "fp16": 1e-2,
    "bf16": 5e-2,
    "int8": 2e-1,
    "int4": 5e-1,
    "fp8": 3e-1,
}
"""Largest relative L2 error of a loss trajectory, wider because every step builds on the last.

On the house-price MLP, weights perturbed by 1e-6 gave up to 3e-5 after 200 steps and bf16 autocast
6e-3, while a learning rate off by 1 % gave 6e-3 to 3e-2.
"""

FEWEST_IN_SLICE = 8
"""Values of a slice that is looked at: of one, as of a single text's logits, an error may be large.
"""
LEAST_MASK, MASK_OVER_REST = 1e4, 100.0
"""What is as large, this many times all else and at several places the same, is a mask."""

NOTHING_FINITE = "the baseline holds no finite value, so nothing can be verified"
VALUES = (Number, str, bytes, Enum, torch.dtype, torch.device, np.ndarray, np.generic, type(None))
"""What an output may hold beside tensors that is no more than its value."""

MAKE_FINITE = "give it weights and inputs, or a learning rate, under which its output is finite"


@dataclass(frozen=True)
class _Figures:
    """What one pair of tensors says; the same as in `Numerics`."""

    max_abs: float
    max_rel: float | None = None
    relative_l2: float | None = None
    worst_item: float | None = None
    worst_slice: float | None = None
    differing: float | None = None
    cosine: float | None = None
    items: int = 1
    slices: str = ""
    kind: str = "values"

    @property
    def whole(self) -> float:
        return max(self.relative_l2 or 0.0, self.differing or 0.0)

    @property
    def error(self) -> float:
        return largest_weight(self.whole, self.worst_item, self.worst_slice)

    def beyond(self, tolerance: float) -> str:
        """Say in words what is above the tolerance."""
        if self.whole <= tolerance:
            of_item = weight_of_part(self.worst_item, item=True) > tolerance
            told = f"{self.items:,} items" if of_item else self.slices
            error = self.worst_item if of_item else self.worst_slice
            most = most_of_part(tolerance, item=of_item)
            return (
                f"one of {told} has a relative L2 error of {error:.2g}, above {most:g}"
                f" (of all together: {self.relative_l2:.2g})"
            )
        if self.differing is None:
            return f"relative L2 error {self.relative_l2:.2g}, above {tolerance:g}"
        share = f"{100 * self.differing:.2g}" if self.differing < 0.995 else "100"
        return f"{share} % of the {self.kind} differ, above {100 * tolerance:g} %"


class _Mismatch(Exception):
    """The outputs cannot be compared; the message says why."""


def compare(
    baseline: object,
    candidate: object,
    *,
    precision: str,
    align: Align | None = None,
    tolerance: float | None = None,
) -> Numerics:
    """Compare two outputs, tensor by tensor; the worst one decides.

    Mappings are compared by their keys. Other containers may differ in kind (an exported engine
    returns a tuple where the model returns a dict), the tensors in their order may not. Copy an
    output before the other side runs if its engine may reuse the memory. `align` is the model's,
    where its outputs have parts of no fixed number or order (`BuiltModel`); `tolerance` is in place
    of the precision's.
    """
    if tolerance is None:
        tolerance = _tolerance(precision, baseline)
    if align is not None:
        baseline, candidate = align(baseline, candidate)
    try:
        if not _tensors(baseline):
            raise _Mismatch("the baseline's output holds no tensor")
        figures = [
            (name, _compare_tensors(name, expected, actual))
            for name, expected, actual in _paired(baseline, candidate)
        ]
        return _judged(figures, compared="output", tolerance=tolerance)
    except _Mismatch as mismatch:
        return incomparable(str(mismatch), compared="output", tolerance=tolerance)


def _tolerance(precision: str, baseline: object) -> float:
    """Return the precision's tolerance, or that of a coarser format which the model returns."""
    formats = [FORMATS[leaf.dtype] for leaf in tensors_of(baseline) if leaf.dtype in FORMATS]
    return max(OUTPUT_TOLERANCE[name] for name in (precision, *formats))


def compare_losses(
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    precision: str,
    noise: float | None = None,
) -> Numerics:
    """Compare two training runs from the same weights on the same batches, by their losses.

    `noise` is the relative L2 error that other random numbers make, where each side draws its own:
    the tolerance is no less.
    """
    tolerance = max(LOSS_TOLERANCE[precision], noise or 0.0)
    try:
        figures = _compare_tensors(
            "losses",
            torch.tensor(list(baseline), dtype=torch.float64),
            torch.tensor(list(candidate), dtype=torch.float64),
        )
        whole = figures and dataclasses.replace(figures, worst_item=None)  # a loss is no item
        return _judged([("losses", whole)], compared="losses", tolerance=tolerance)
    except _Mismatch as mismatch:
        return incomparable(str(mismatch), compared="losses", tolerance=tolerance)


def nothing_to_compare(output: object) -> tuple[str, str] | None:
    """Say why a baseline's output can verify nothing, and what to do about the model, or None."""
    try:
        tensors = _tensors(output)
    except _Mismatch as mismatch:
        return str(mismatch), "return tensors from forward, in any nesting of containers"
    if not tensors:
        return (
            f"the model returns no tensor ({type(output).__name__}), so nothing can be compared",
            "return from forward what the model computes",
        )
    if not any(bool(torch.isfinite(_as_doubles(tensor)).any()) for tensor in tensors):
        return (
            "in eager, the model returns nothing but NaN or infinity, so nothing can be compared",
            MAKE_FINITE,
        )
    return None


def compares_nothing(baseline: object, candidate: object, *, align: Align | None = None) -> bool:
    """Tell whether two outputs have no element that `compare` looks at, as of no detection."""
    if align is not None:
        baseline, _ = align(baseline, candidate)
    return not any(tensor.numel() for tensor in _tensors(baseline))


def _tensors(output: object) -> list[torch.Tensor]:
    return [leaf for _, leaf in _leaves(output, "output") if isinstance(leaf, torch.Tensor)]


def incomparable(
    reason: str, *, compared: Literal["output", "losses"], tolerance: float
) -> Numerics:
    """Say why two outputs cannot be compared: the candidate's is wrong."""
    return Numerics(within_tolerance=False, reason=reason, compared=compared, tolerance=tolerance)


def _judged(
    found: Sequence[tuple[str, _Figures | None]],
    *,
    compared: Literal["output", "losses"],
    tolerance: float,
) -> Numerics:
    figures = [(name, figure) for name, figure in found if figure is not None]
    if not figures:
        raise _Mismatch(f"{found[0][0]}: {NOTHING_FINITE}")
    name, worst = max(figures, key=lambda item: item[1].error)
    within = worst.error <= tolerance
    every = [figure for _, figure in figures]
    cosines = [figure.cosine for figure in every if figure.cosine is not None]
    return Numerics(
        within_tolerance=within,
        reason=None if within else f"{name}: {worst.beyond(tolerance)}",
        compared=compared,
        max_abs=_largest(figure.max_abs for figure in every),
        max_rel=_largest(figure.max_rel for figure in every),
        relative_l2=_largest(figure.relative_l2 for figure in every),
        worst_item=_largest(figure.worst_item for figure in every),
        worst_slice=_largest(figure.worst_slice for figure in every),
        differing=_largest(figure.differing for figure in every),
        cosine=min(cosines, default=None),
        tolerance=tolerance,
    )


def _largest(values: Iterable[float | None]) -> float | None:
    """Return the largest value, or None where there is none, or none that is finite."""
    largest = max((value for value in values if value is not None), default=None)
    return largest if largest is not None and math.isfinite(largest) else None


def _paired(
    baseline: object, candidate: object, name: str = "output"
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield the tensors of both outputs, with the name the baseline gives them.

    What lies among them is the same, or the outputs cannot be compared.
    """
    if isinstance(baseline, Mapping) and isinstance(candidate, Mapping):
        missing = [key for key in baseline if key not in candidate]
        extra = [key for key in candidate if key not in baseline]
        if missing or extra:
            raise _Mismatch(f"{name} keys differ: missing {missing}, unexpected {extra}")
        for key, item in baseline.items():
            yield from _paired(item, candidate[key], f"{name}[{key!r}]")
        return
    if (
        isinstance(baseline, list | tuple)
        and isinstance(candidate, list | tuple)
        and len(baseline) == len(candidate)
    ):
        for index, (one, other) in enumerate(zip(baseline, candidate, strict=True)):
            yield from _paired(one, other, f"{name}[{index}]")
        return
    expected, actual = list(_leaves(baseline, name)), list(_leaves(candidate, name))
    if len(expected) != len(actual):
        what = (
            "tensors"
            if all(isinstance(leaf, torch.Tensor) for _, leaf in expected + actual)
            else "values"
        )
        raise _Mismatch(f"the {name} holds {len(actual)} {what}, the baseline's {len(expected)}")
    for (place, one), (_, other) in zip(expected, actual, strict=True):
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            yield place, one, other
        elif isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor) or one != other:
            raise _Mismatch(f"{place} is {_told(other)}, the baseline's is {_told(one)}")


def _told(leaf: object) -> str:
    return "a tensor" if isinstance(leaf, torch.Tensor) else reprlib.repr(leaf)


def _leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Yield what an output holds: tensors, and what else can be told equal or not."""
    if value is None:
        return
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, bool | float | complex):
        yield name, torch.as_tensor(value)
    elif isinstance(value, int):
        yield name, torch.as_tensor(value) if -(2**63) <= value < 2**63 else value
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        yield name, torch.as_tensor(np.asarray(value))
    elif isinstance(value, Enum):  # by name: a user's file is run for each side, its class anew
        yield name, f"{type(value).__name__}.{value.name}"
    elif isinstance(value, str | bytes | torch.dtype | torch.device | np.generic):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}[{key!r}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _leaves(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, Iterable):
        for index, item in enumerate(value):  # lists and tuples, but also a transformers cache
            yield from _leaves(item, f"{name}[{index}]")
    else:
        raise _Mismatch(f"{name} is a {type(value).__name__}: no tensor, sequence or mapping")


def _compare_tensors(name: str, baseline: torch.Tensor, candidate: torch.Tensor) -> _Figures | None:
    """Measure how far apart two tensors are; None where neither holds a finite value."""
    if baseline.shape != candidate.shape:
        raise _Mismatch(
            f"{name} has the shape {tuple(candidate.shape)}, the baseline's is "
            f"{tuple(baseline.shape)}"
        )
    if baseline.is_complex() != candidate.is_complex():
        raise _Mismatch(f"{name} is of {candidate.dtype}, the baseline's of {baseline.dtype}")
    if baseline.numel() == 0:
        return _Figures(max_abs=0.0, max_rel=0.0, relative_l2=0.0)
    if not (baseline.is_floating_point() or baseline.is_complex()):
        return _compare_exactly(baseline, candidate)
    expected, actual = _as_doubles(baseline), _as_doubles(candidate)
    finite = torch.isfinite(expected)
    if (mask := _mask(expected[finite])) is not None:
        masked = expected == mask
        hidden = actual / mask > 0.5  # rounded otherwise, or infinite
        if not torch.equal(masked, hidden):
            raise _Mismatch(f"{name}: the baseline is masked by {mask:g} at other places")
        expected, actual = (side.masked_fill(masked, math.inf) for side in (expected, actual))
        finite &= ~masked
    broken = int((~torch.isfinite(actual) & finite).sum())
    if broken:
        raise _Mismatch(f"{name}: {broken} of {finite.numel()} values are NaN or infinite")
    same = torch.where(torch.isnan(expected), torch.isnan(actual), expected == actual)
    if not bool(same[~finite].all()):
        raise _Mismatch(f"{name}: NaN or infinite in the baseline, but not so in the candidate")
    if not bool(finite.any()):
        return None
    figures = _distances(expected[finite], actual[finite])
    if expected.ndim == 0:
        return figures
    return _with_parts(figures, expected.where(finite, 0.0), actual.where(finite, 0.0))


def _mask(values: torch.Tensor) -> float | None:
    """Return which of finite values stands for minus infinity, as -1e9 in logits; None: none does.

    Beside it no other value would count.
    """
    mask = values[values.abs().argmax()] if values.numel() else values.new_zeros(())
    if abs(mask) < LEAST_MASK:
        return None
    others = values[values != mask]
    if not others.numel() or len(values) - len(others) < 2:
        return None
    return float(mask) if others.abs().max() * MASK_OVER_REST < abs(mask) else None


def _with_parts(figures: _Figures, expected: torch.Tensor, actual: torch.Tensor) -> _Figures:
    """Add the errors of the worst item, and of the worst slice along the other dimensions."""
    scale = float(expected.abs().max()) or 1.0  # so that no square overflows
    shape = (*expected.shape, 1) if expected.ndim == 1 else expected.shape
    one, other = (side.reshape(shape) / scale for side in (expected, actual))
    errors = other - one
    items, *others = (
        (_worst_along(one, errors, dimension), size)
        for dimension, size in enumerate(shape)
        if dimension == 0 or (size > 1 and one.numel() >= size * FEWEST_IN_SLICE)
    )
    error, size = max(others, default=(None, 0))
    return dataclasses.replace(
        figures,
        worst_item=items[0] if len(expected) > 1 else None,
        items=len(expected),
        worst_slice=error,
        slices=f"{size:,} slices of the shape {tuple(expected.shape)}",
    )


def _worst_along(values: torch.Tensor, errors: torch.Tensor, dimension: int) -> float:
    """Return the largest relative L2 error along a dimension.

    A part's norm is taken for no less than their root mean square, so that one near zero does not
    look far off.
    """
    others = [other for other in range(values.ndim) if other != dimension]
    norms, errors = (torch.linalg.vector_norm(side, dim=others) for side in (values, errors))
    typical = float(norms.square().mean().sqrt()) or 1.0
    return float((errors / norms.clamp(min=typical)).max())


def _as_doubles(tensor: torch.Tensor) -> torch.Tensor:
    values = tensor.detach()
    values = values.dequantize() if values.is_quantized else dense(values)
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.cpu().to(torch.float64)  # in this order: MPS has no fp64


def _distances(expected: torch.Tensor, actual: torch.Tensor) -> _Figures:
    """Measure how far apart two vectors of finite doubles are."""
    # Both are divided by the largest value first, so that no square overflows.
    scale = float(expected.abs().max()) or 1.0
    one, other = expected / scale, actual / scale
    difference = (other - one).abs()
    norm, other_norm = float(one.norm()), float(other.norm())
    rms = norm / math.sqrt(one.numel()) or 1.0
    return _Figures(
        max_abs=float(difference.max()) * scale,
        max_rel=float((difference / one.abs().clamp(min=rms)).max()),
        relative_l2=float(difference.norm()) / (norm or 1.0),
        cosine=_cosine(one, other, norm * other_norm),
    )


def _cosine(one: torch.Tensor, other: torch.Tensor, norms: float) -> float | None:
    if norms == 0 or not math.isfinite(norms):
        return None
    return max(-1.0, min(1.0, float(one @ other) / norms))


def _compare_exactly(baseline: torch.Tensor, candidate: torch.Tensor) -> _Figures:
    """Compare integers or truth values by the share that differs: their size means nothing."""
    expected, actual = _as_numbers(baseline), _as_numbers(candidate)
    return _Figures(
        max_abs=_furthest(expected, actual),
        differing=float((expected != actual).mean()),  # NumPy is exact for any two integer types
        kind="truth values" if baseline.dtype == torch.bool else "integers",
    )


def _as_numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """Flatten integers and truth values as they are, of which doubles hold 53 bits alone."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized:
        return _as_doubles(tensor).numpy().reshape(-1)
    return dense(tensor.detach()).cpu().numpy().reshape(-1)


def _furthest(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """Return the largest distance of two numbers."""
    if "f" in (expected.dtype.kind, actual.dtype.kind):
        return float(np.abs(expected - actual).max())
    # A difference of 64-bit integers is right modulo 2⁶⁴, so the larger less the smaller is right.
    one, other = expected.astype(np.uint64), actual.astype(np.uint64)
    return float(np.where(expected > actual, one - other, other - one).max())
