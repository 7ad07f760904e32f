"""Are the gradients of a training step right, and the changes that it makes to the parameters?

Losses alone show a fault late: a gradient that is a tenth too large in one layer changes them less
than rounding does. So, after all timing, the first steps are taken again by instances whose
gradients are compared: the mode's, eager's, and one that shows how far rounding alone leads. They
run without dropout, whatever the model has: eager and compilers draw different random numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from torchmodes.planning.job import EAGER, Job
from torchmodes.results.reasons import reason_of
from torchmodes.results.records import Numerics
from torchmodes.workloads.structures import dense
from torchmodes.workloads.workload import Workload, random_state, workload_of

STEPS = 4
"""Steps after which parameters are compared; a CUDA graph is first replayed at the third."""
GRADIENT = "gradient of the first step"
CHANGE = f"change by {STEPS} steps"
TOLERANCE = 1e-3
"""Error that no rounding need explain; of gradients, and of what steps moved, relative."""
ROUNDINGS = 10.0
"""How many times as far as rounding leads eager a mode may come."""
LOWERED_ROUNDINGS = 3.0
"""The same in a lower precision, where eager is rounded as the mode is: that led TorchInductor 1.0
to 1.05 times as far in bf16. Of a tensor of `MANY` values; the rounding of few may be near zero."""
MANY = 64
SMALL = 1e-2
"""Tensors whose values are smaller than this share of the others' are held against that share.

The gradient of a bias before a normalisation, or of attention's keys, is zero but for rounding.
"""
NUDGE = 1e-6
"""Relative change of weights that makes gradients differ as other orders of summation do."""
NUDGES = (1, 2)
SEEDS = 3
"""Seeds of weights and batches under each of which a mode is wrong, or not at all.

A ReLU or a maximum that a last bit turns makes a gradient of a small batch one per cent another.
That happens to one seed, and a fault to all.
"""
MOST_FP64_S = 5.0
"""Of a step in fp32, up to which the same in fp64 is worth its time."""

NO_GRADIENT = (
    "nothing could be compared: no parameter has a gradient in eager's first step, or all are"
    " zero: whether the mode is right is open; let the loss depend on the parameters"
)

Tensors = Mapping[str, torch.Tensor]


class Diverged(Exception):
    """Eager itself does not stay finite, so no mode can be held to it; the message says where."""


@dataclass(frozen=True)
class FirstSteps:
    """What an instance's first steps left, on the host.

    The gradients are of the first step, by parameter; `moved` says how far each parameter is after
    the last of `STEPS` from where it began; `random`, whether a step drew random numbers although
    nothing is dropped.
    """

    gradients: Tensors
    moved: Tensors
    random: bool


def first_steps(job: Job, *, double: bool = False, nudged: int = 0) -> FirstSteps:
    """Build an instance that drops nothing, and take its first steps.

    `double`: in fp64. `nudged`: the number of a change to its weights in the last bits; 0: none.
    """
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()  # or what was timed would be compiled again, for other values
    workload = workload_of(job, double=double, dropout=False)
    if nudged:
        nudge(workload, seed=nudged)
    before = _parameters(workload)
    state = random_state(job.case.device)
    with workload.context():
        workload.call()
        gradients = {
            name: _copied(parameter.grad)
            for name, parameter in workload.built.module.named_parameters()
            if parameter.grad is not None
        }
        for _ in range(STEPS - 1):
            workload.call()
    after = _parameters(workload)
    return FirstSteps(
        gradients,
        {name: after[name] - before[name] for name in before},
        random=not torch.equal(state, random_state(job.case.device)),
    )


@torch.no_grad()
def nudge(workload: Workload, *, seed: int) -> None:
    """Change weights in their last bits, at random, as another order of summation changes sums."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in workload.built.module.parameters():
        by = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        parameter.mul_(1 + NUDGE * by)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """Copy to the host, in fp64: with the zeros of a sparse one and both parts of complex ones."""
    values = dense(tensor.detach())
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.cpu().to(torch.float64, copy=True)


def _parameters(workload: Workload) -> dict[str, torch.Tensor]:
    return {
        name: _copied(parameter)
        for name, parameter in workload.built.module.named_parameters()
        if parameter.requires_grad
    }


def rounded_otherwise(job: Job) -> tuple[Job, bool]:
    """Return an eager job that tells how far rounding leads, and whether it is to be in fp64."""
    if job.case.precision != "fp32":
        return replace(job, mode=EAGER, operators=None), False
    return job.baseline(), True


def compare_gradients(
    job: Job, numerics: Numerics, *, baseline_step_s: float
) -> tuple[Numerics, list[str]]:
    """Compare a mode's gradients and parameters with eager's.

    It returns what its losses said with what was found, outside of tolerance where a gradient or
    parameter is, and warnings: what could not be compared, or differed under one seed alone.

    Raises
    ------
    Diverged
        When a gradient or a parameter of eager is NaN or infinite.
    """
    first, warnings = _compare(job, numerics, baseline_step_s)
    found = first
    for number in range(1, SEEDS):
        if found.within_tolerance:
            break
        other = replace(job, seed=job.seed + number)
        found, warnings = _compare(other, numerics, baseline_step_s)
    if not found.within_tolerance:
        return first, warnings
    if not first.within_tolerance:
        warnings = [
            *warnings,
            f"{first.reason}; not so under another seed, so not a fault of the mode",
        ]
    return found, warnings


def _compare(job: Job, numerics: Numerics, baseline_step_s: float) -> tuple[Numerics, list[str]]:
    expected = first_steps(job.baseline())
    if expected.random:
        return numerics, [
            "gradients were not compared: a step draws random numbers for more than dropout"
        ]
    _require_finite(expected)
    rounded, warnings = _rounded(job, baseline_step_s=baseline_step_s)
    found = first_steps(job)
    of_many = ROUNDINGS if job.case.precision == "fp32" else LOWERED_ROUNDINGS
    gradients = _worst(expected.gradients, found.gradients, [r.gradients for r in rounded], of_many)
    moved = _worst(expected.moved, found.moved, [r.moved for r in rounded], of_many)
    update: dict[str, object] = {
        "gradient_error": gradients.error,
        "gradient_tolerance": gradients.allowed,
        "parameter_error": moved.error,
        "parameter_tolerance": moved.allowed,
    }
    if not any(bool(gradient.any()) for gradient in expected.gradients.values()):
        warnings = [*warnings, NO_GRADIENT]
        update |= {"gradient_error": None, "gradient_tolerance": None}
    worst = (("gradients", gradients, GRADIENT), ("parameters", moved, CHANGE))
    for compared, one, what in worst:
        if one.error is None or one.error > one.allowed:
            told = "missing, NaN or infinite"
            if one.error is not None:
                told = f"relative L2 error {one.error:.2g}, above {one.allowed:.2g}"
            update |= {
                "within_tolerance": False,
                "compared": compared,
                "reason": f"{one.name}, {what}: {told}",
            }
            break
    return numerics.model_copy(update=update), warnings


def _require_finite(eager: FirstSteps) -> None:
    for what, tensors in ((GRADIENT, eager.gradients), (CHANGE, eager.moved)):
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise Diverged(f"the training diverges in eager: {name}, {what}: NaN or infinite")


def _rounded(job: Job, *, baseline_step_s: float) -> tuple[list[FirstSteps], list[str]]:
    """Take eager's steps rounded otherwise: in another precision, and from nudged weights."""
    other, double = rounded_otherwise(job)
    found = [first_steps(other, nudged=number) for number in NUDGES]
    if not double:
        return [*found, first_steps(other)], []
    if baseline_step_s > MOST_FP64_S or job.case.device == "mps":
        return found, [f"{_NO_FP64}: a step of {baseline_step_s:.1f} s takes too long in it"]
    try:
        return [*found, first_steps(other, double=True)], []
    except Exception as error:  # noqa: BLE001 - a user's loss or operator may know no fp64
        return found, [f"{_NO_FP64}: {reason_of(error)}"]


_NO_FP64 = "eager's own rounding was estimated from perturbed weights alone, for lack of fp64"


@dataclass(frozen=True)
class _Worst:
    """The tensor that is furthest from what is allowed; error None: missing, or not finite."""

    name: str
    error: float | None
    allowed: float


def _worst(expected: Tensors, found: Tensors, rounded: Sequence[Tensors], of_many: float) -> _Worst:
    floor = SMALL * _root_mean_square(expected.values())
    worst, most = _Worst("every parameter", 0.0, TOLERANCE), 0.0
    for name, one in expected.items():
        scale = max(float(one.norm()), floor * one.numel() ** 0.5)
        if name not in found:
            return _Worst(name, None, TOLERANCE)
        error = float((found[name] - one).norm())
        noise = max(float((other[name] - one).norm()) for other in rounded)
        times = of_many if one.numel() >= MANY else ROUNDINGS
        if scale == 0.0 and error == 0.0:
            continue
        error, allowed = error / (scale or 1.0), max(TOLERANCE, times * noise / (scale or 1.0))
        if not error < float("inf"):
            return _Worst(name, None, allowed)
        if error / allowed > most:
            worst, most = _Worst(name, error, allowed), error / allowed
    return worst


def _root_mean_square(tensors: Iterable[torch.Tensor]) -> float:
    squares, count = 0.0, 0
    for tensor in tensors:
        squares, count = squares + float(tensor.square().sum()), count + tensor.numel()
    return (squares / count) ** 0.5 if count else 0.0
