"""Does a mode in low precision still choose as eager does? Without labels, on seeded inputs.

For models whose output are logits. It says how often answers change, not whether they are right.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn import functional

from torchmodes.measure.first_calls import WarmedUp
from torchmodes.measure.input_sets import feed, output_on
from torchmodes.planning.job import Job
from torchmodes.results.records import Agreement
from torchmodes.workloads.structures import tensors_of

BUDGET_S = 1.0
"""Of both sides together, drawing inputs and comparing included; one set is always compared."""
NUMBERS = range(10, 1010)
"""Of the input sets: no comparison and no other look at a mode has used them."""
MOST_DECISIONS = 512
"""Of one set of inputs: a language model decides at each of its tokens."""


def choices(output: Any) -> torch.Tensor | None:
    """Return the logits of an output, shape (decisions, classes); None where it has none.

    They are the first floating tensor with two dimensions or more, and several classes in the last.
    """
    for tensor in tensors_of(output):
        if tensor.is_floating_point() and tensor.ndim >= 2 and tensor.shape[-1] >= 2:
            rows = tensor.flatten(0, -2)
            return rows[:: max(1, -(-len(rows) // MOST_DECISIONS))].float()
    return None


def compare_choices(baseline: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
    """Compare logits of shape (decisions, classes), decision by decision.

    Returns shape (decisions, 3), fp64: whether the first choice is another one; by how much eager's
    leads its second, in logits; KL(eager ‖ candidate) of the softmax, nats.
    """
    best = baseline.topk(2, dim=-1)
    flipped = best.indices[:, 0] != candidate.argmax(dim=-1)
    lead = best.values[:, 0] - best.values[:, 1]
    logs = functional.log_softmax(baseline, -1), functional.log_softmax(candidate, -1)
    divergence = functional.kl_div(logs[1], logs[0], reduction="none", log_target=True).sum(-1)
    return torch.stack([flipped.double(), lead.double(), divergence.double().clamp(min=0)], -1)


def summarise(decisions: torch.Tensor, *, input_sets: int, random_weights: bool) -> Agreement:
    """Say how often choices differ, over all decisions and by eager's own lead."""
    flipped, _, divergence = decisions[decisions[:, 1].argsort()].unbind(-1)
    quarters = torch.tensor_split(flipped, 4)
    return Agreement(
        decisions=len(decisions),
        input_sets=input_sets,
        top1=1 - float(flipped.mean()),
        flips_by_lead=[float(quarter.mean()) if len(quarter) else 0.0 for quarter in quarters],
        kl_divergence=float(divergence.mean()),
        random_weights=random_weights,
    )


def agreement(job: Job, baseline: WarmedUp, candidate: WarmedUp) -> Agreement | None:
    """Compare the choices of both sides on as many seeded inputs as `BUDGET_S` allows.

    None where the precision is fp32 (the numerical gate says all), the output is no logits, or the
    inputs are not drawn from a seed.
    """
    built, sets = baseline.workload.built, baseline.sets
    if job.case.precision == "fp32" or not built.logits or sets is None or sets.origin != "drawn":
        return None
    found: list[torch.Tensor] = []
    began = time.monotonic()
    for number in NUMBERS:
        expected = choices(output_on(baseline.workload, sets, number))
        actual = choices(output_on(candidate.workload, sets, number))
        if expected is None or actual is None:
            return None
        found.append(compare_choices(expected, actual))
        if time.monotonic() - began > BUDGET_S:
            break
    for side in (baseline, candidate):
        feed(side.workload, sets, 0)
    random_weights = job.model.get("weights", "random") == "random"
    return summarise(torch.cat(found), input_sets=len(found), random_weights=random_weights)
