"""Is a mode right on several inputs, before and after it was timed? If not, whose fault is it?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, takewhile
from typing import Any

import torch

from torchmodes.measure.first_calls import WarmedUp, losses_of, warmed_up
from torchmodes.measure.gradients import NUDGES, ROUNDINGS, nudge, rounded_otherwise
from torchmodes.measure.input_sets import agree, feed, together
from torchmodes.measure.numerics import (
    FORMATS,
    MAKE_FINITE,
    NOTHING_FINITE,
    VALUES,
    compare,
    compare_losses,
    compares_nothing,
    incomparable,
    nothing_to_compare,
)
from torchmodes.planning.job import Job
from torchmodes.results.records import Measured, Numerics
from torchmodes.workloads.structures import tensors_of
from torchmodes.workloads.workload import workload_of

BEFORE_SAMPLING = (1, 2)
"""Numbers of the input sets that both sides run before they are timed, beside the example."""
AFTER_SAMPLING = {"drawn": (3,), "rearranged": (3, 0), "example": (0,)}
"""And after it, by where the sets come from: a model may refuse rearranged ones."""
FURTHER = range(2_000, 2_100)
"""Sets that are compared after it as well, for `FURTHER_S`: a branch may be taken by few inputs."""
FURTHER_S = 0.02
EVEN_OUT_S = 5.0
"""The most time that calls may take which bring both sides of a stateful model to one number."""
SEEDS_APART = 3.0
"""How many times as far as another seed leads eager may losses of a mode with dropout be."""
MODEL_REMEDY = (
    "fix the model: what it returns in evaluation mode must follow from its inputs and weights"
    " alone (is dropout left on, or does forward draw random numbers?)"
)
STEP_REMEDY = (
    "fix the training step: its losses must follow from weights and batches alone (does the loss"
    " or the model keep anything from one step to the next?)"
)
MODE_REMEDY = "do not use this mode for this model, or report the difference upstream"
LEAK_REMEDY = (
    "restore in the process what the mode's factory and its calls change: eager runs in it, too;"
    " where eager's own case failed for the same reason, mend the model"
)
MODEL_LEAK_REMEDY = (
    "restore in the process what the model's file, its factory and its forward change: every mode"
    " runs in it"
)


def compare_first(
    job: Job,
    baseline: WarmedUp,
    candidate: WarmedUp,
    others: tuple[int, ...] = BEFORE_SAMPLING,
    tolerance: float | None = None,
) -> Numerics:
    """Compare what both sides returned so far, then their outputs for other inputs, by number.

    A `tolerance`, of outputs, is in place of the precision's.
    """
    precision = job.case.precision
    if job.case.task == "training":
        distance = _seed_distance(job, baseline) if others or baseline.random else None
        return _compare_training(job, baseline, candidate.output, seed_distance=distance)
    align = baseline.workload.built.align
    first = compare(
        baseline.output, candidate.output, precision=precision, align=align, tolerance=tolerance
    )
    if lazy := _may_compute_later(baseline, candidate):
        told = (
            f"the output holds a {lazy[0]}, which eager's does not: it may compute when it is read"
        )
        return incomparable(told, compared="output", tolerance=first.tolerance)
    if baseline.sets is None or not first.within_tolerance:
        return first
    sides = baseline.workload, candidate.workload
    if others and baseline.sets.origin == "schedule":
        others = tuple(range(1, baseline.sets.batches + 1))  # the last with its items moved
    more = agree(*sides, baseline.sets, others, precision=precision, tolerance=tolerance)
    numerics = together(first, more, baseline.sets, when="on other inputs")
    for side in sides:
        feed(side, baseline.sets, 0)  # on which they are timed
    return numerics


def _may_compute_later(baseline: WarmedUp, candidate: WarmedUp) -> list[str]:
    """Name classes in an output that eager's has not, whose operators may be code of their own."""
    known = {kind.__qualname__ for kind in (*baseline.kinds, torch.Tensor, torch.nn.Parameter)}
    found = {kind.__qualname__ for kind in candidate.kinds if not issubclass(kind, VALUES)}
    return sorted(found - known)


def compare_again(
    job: Job,
    baseline: WarmedUp,
    candidate: WarmedUp,
    first: Numerics,
    calls: Mapping[Any, int],
    tolerance: float | None = None,
) -> Numerics:
    """Compare both sides after they were timed: a training from its start, a forward pass anew."""
    precision, workload = job.case.precision, candidate.workload
    if baseline.sets is None:
        workload.restart()
        with workload.context():
            losses = losses_of(workload, len(baseline.output))
        distance = first.seed_distance
        again = _compare_training(job, baseline, losses, seed_distance=distance)
        if again.within_tolerance:
            return max(first, again, key=lambda numerics: numerics.error)
        return again.model_copy(update={"reason": f"after sampling: {again.reason}"})
    if baseline.kept and not _even_out(baseline, candidate, calls):
        return first  # it has fewer input sets than others, which the record tells
    whole = (*range(baseline.sets.batches), baseline.sets.batches + 1)
    numbers = AFTER_SAMPLING.get(baseline.sets.origin, whole)
    if baseline.sets.origin == "drawn":
        until = time.monotonic() + FURTHER_S
        numbers = chain(numbers, takewhile(lambda _: time.monotonic() < until, FURTHER))
    sides = baseline.workload, workload
    others = agree(*sides, baseline.sets, numbers, precision=precision, tolerance=tolerance)
    return together(first, others, baseline.sets, when="after sampling")


def _seed_distance(job: Job, baseline: WarmedUp) -> float | None:
    """Return how far eager's losses under another seed are from those under the case's own."""
    other = warmed_up(replace(job.baseline(), seed=job.seed + 1), steps=baseline.steps)
    return compare_losses(baseline.output, other.output, precision="fp32").relative_l2


def _compare_training(
    job: Job, baseline: WarmedUp, losses: Sequence[float], *, seed_distance: float | None
) -> Numerics:
    """Compare losses with eager's, and, where they differ, with what rounding explains.

    They are compared as long as they tell anything: until rounding may lead a mode as far from
    eager as another seed does, which in a chaotic training is after a few steps.
    """
    precision = job.case.precision
    noise = SEEDS_APART * seed_distance if baseline.random and seed_distance is not None else 0.0
    steps = len(losses)
    found = compare_losses(baseline.output, losses, precision=precision, noise=noise)
    if found.relative_l2 is not None and not found.within_tolerance:
        if seed_distance is None:
            seed_distance = _seed_distance(job, baseline)
        further = seed_distance or 0.0
        told = list(takewhile(lambda led: led <= further, _roundings(job, baseline)))
        steps = len(told) or steps
        noise = max([noise, *told[-1:]])
        expected = baseline.output[:steps]
        found = compare_losses(expected, losses[:steps], precision=precision, noise=noise)
    return found.model_copy(update={"seed_distance": seed_distance, "losses_compared": steps})


def _roundings(job: Job, baseline: WarmedUp) -> list[float]:
    """Return how far rounding may lead a mode's losses: of the first step, the first two, …

    That is `ROUNDINGS` times as far as a last bit of the weights leads eager's; empty where that
    changes the first loss already, which is one forward pass. A training may be chaotic: in a
    ResNet on small batches a ReLU that a last bit turns makes a gradient one per cent another.
    """
    other, _ = rounded_otherwise(job)
    steps = len(baseline.output)
    furthest = [0.0] * steps
    for number in NUDGES:
        workload = workload_of(other)
        nudge(workload, seed=number)
        with workload.context():
            losses = losses_of(workload, steps)
        for step in range(steps):
            expected, led = baseline.output[: step + 1], losses[: step + 1]
            found = compare_losses(expected, led, precision=job.case.precision)
            if found.relative_l2 is None or (step == 0 and not found.within_tolerance):
                return []
            furthest[step] = max(furthest[step], ROUNDINGS * found.relative_l2)
    return furthest


def _even_out(baseline: WarmedUp, candidate: WarmedUp, calls: Mapping[Any, int]) -> bool:
    """Call the side that was called less often on the example inputs, until both are alike.

    Returns
    -------
    bool
        Whether that took no more time than it may.
    """
    assert baseline.sets is not None
    fewer, more = sorted(
        (baseline.workload, candidate.workload), key=lambda workload: calls[workload.call]
    )
    began = time.monotonic()
    with fewer.context():
        for _ in range(calls[more.call] - calls[fewer.call]):
            if time.monotonic() - began > EVEN_OUT_S:
                return False
            feed(fewer, baseline.sets, 0)
            fewer.call()
    return True


def wrong(job: Job, baseline: WarmedUp, numerics: Numerics, *, of_eager: bool = False) -> Measured:
    """Say why a case is wrong: because of its mode, or of the model that no mode can follow.

    `of_eager`: eager's own output was another than before.
    """
    reason, remedy = numerics.reason, MODE_REMEDY
    if fault := nothing_to_compare(baseline.output):
        reason, remedy = fault
    elif reason is not None and reason.endswith(NOTHING_FINITE):  # on other inputs than the first
        remedy = MAKE_FINITE
    elif of_eager or job.case.is_baseline or not _repeatable(job, baseline):
        reason = (
            "the model is not deterministic: in eager, its output for the same inputs changes from"
            " call to call"
            if of_eager
            else "the model is not deterministic: two instances of it in eager, built from the same"
            " seed, differ on the same inputs"
        )
        remedy = STEP_REMEDY if baseline.sets is None else MODEL_REMEDY
    elif baseline.kept:
        reason = (
            f"{reason}; the model keeps state that changes at every call"
            f" ({', '.join(baseline.kept[:3])})"
        )
    return Measured(status="wrong", reason=reason, remedy=remedy, numerics=numerics)


def _repeatable(job: Job, baseline: WarmedUp) -> bool:
    """Tell whether another instance of the model in eager returns what the first one did."""
    again = warmed_up(job.baseline(), steps=baseline.steps)
    if job.case.task == "training":
        return compare_losses(baseline.output, again.output, precision="fp32").within_tolerance
    align = baseline.workload.built.align
    return compare(baseline.output, again.output, precision="fp32", align=align).within_tolerance


def leak(leaked: list[str], *, of_model: bool) -> Measured:
    """Say what a mode changed that eager runs with too, so that comparing them means nothing.

    With `of_model`: both sides are eager, which changes nothing, so it was the model.
    """
    changed = "model" if of_model else "mode"
    more = f" and {len(leaked) - 3} more" if len(leaked) > 3 else ""
    return Measured(
        status="failed",
        reason=f"the {changed} changed the process that eager runs in:"
        f" {', '.join(leaked[:3])}{more}",
        remedy=MODEL_LEAK_REMEDY if of_model else LEAK_REMEDY,
    )


def one_model(baseline: WarmedUp, candidate: WarmedUp) -> Measured | None:
    """Refuse to compare two sides that are one: what a mode does to its own it does to eager's."""
    one, other = (
        {id(part) for part in (module, *module.parameters())}
        for module in (side.workload.built.module for side in (baseline, candidate))
    )
    if one.isdisjoint(other):
        return None
    return Measured(
        status="failed",
        reason="eager and the mode share parts of one model: the model's factory returned"
        " what it had returned before",
        remedy="build a new model, or a copy.deepcopy, at each call of its factory",
    )


def surprises(job: Job, baseline: WarmedUp, candidate: WarmedUp) -> list[str]:
    """Warn of what somebody stumbles over who puts a mode that is right in eager's place."""
    warnings = []
    if candidate.changes_inputs and not baseline.changes_inputs:
        warnings.append("the mode writes into its inputs, which eager does not")
    if baseline.changes_inputs and not candidate.changes_inputs:
        warnings.append("the mode does not write into its inputs, which eager does")
    if job.case.task == "inference" and job.case.precision == "fp32":
        ours, theirs = (tensors_of(side.output) for side in (baseline, candidate))
        others = {
            f"{other.dtype} where eager returns {one.dtype}"
            for one, other in zip(ours, theirs, strict=False)
            if one.dtype != other.dtype
        }
        warnings += [f"the mode returns {told}" for told in sorted(others)]
    return warnings


def unseen(job: Job, baseline: WarmedUp, candidate: WarmedUp) -> list[str]:
    """Warn where outputs agree because there is nothing in them to compare."""
    if job.case.task == "training":
        return []
    align = baseline.workload.built.align
    if not compares_nothing(baseline.output, candidate.output, align=align):
        return []
    told = "nothing in the outputs could be compared (say, no detection on either side): whether"
    return [f"{told} the mode is right is open; give the model inputs on which it finds something"]


def cautions(traced: list[str], baseline: WarmedUp, *, of_model: bool) -> list[str]:
    """Return what tracing warned of, and, with `of_model`, what is special about the model."""
    warnings = [f"tracing warned: {warning}" for warning in traced[:3]]
    if len(traced) > 3:
        warnings.append(f"tracing warned {len(traced) - 3} more times; the log has all")
    if not of_model:
        return warnings
    if baseline.sets is not None and baseline.sets.caveat:
        warnings.append(baseline.sets.caveat)
    if baseline.workload.built.caveat:
        warnings.append(baseline.workload.built.caveat)
    parameters = baseline.workload.built.module.parameters()
    if half := {FORMATS[p.dtype] for p in parameters if p.dtype in FORMATS}:
        warnings.append(
            f"its factory built the model with parameters in {' and '.join(sorted(half))}, and what"
            " is called fp32 here computes so: for a baseline in fp32 let it return model.float()"
        )
    if baseline.kept:
        warnings.append(
            "the model keeps state that changes at every call"
            f" ({', '.join(baseline.kept[:3])}): outputs are compared after equally many calls"
        )
    if baseline.changes_inputs:
        warnings.append("the model writes into its inputs: each sample begins with fresh ones")
    return warnings
