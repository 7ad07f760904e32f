"""A generation of text: are its tokens eager's, and how long do its prompt and its whole take?

The decode step is measured as any call is. Here is what is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from torchmodes.measure import statistics
from torchmodes.measure.clock import make_clock
from torchmodes.measure.first_calls import WarmedUp
from torchmodes.measure.latency import latency
from torchmodes.measure.numerics import compare
from torchmodes.measure.sampler import SamplerSettings, sample
from torchmodes.planning.job import Job
from torchmodes.results.records import (
    Divergence,
    Generation,
    Interval,
    Latency,
    Numerics,
    Statistics,
    TimedPart,
)
from torchmodes.workloads.workload import Workload

if TYPE_CHECKING:
    from torchmodes.workloads.generation import Decoding

PARTS_SHARE = 0.5
"""Of the budget of the decode step, for the prompt and for whole generations each."""
FEWEST_BLOCKS = 5
WARM_UP_S = 0.01
"""Both sides ran prompts and whole generations before, when their tokens were compared."""
LEAST_ACCOUNTED, MOST_ACCOUNTED = 0.85, 1.15
COMPILED_ANYWAY = 2
"""A step after the prompt is another shape, and the next one shows which sizes change."""


@dataclass
class Tokens:
    """What comparing a mode's tokens with eager's found.

    Attributes
    ----------
    worst
        The comparison of logits that failed first, or else the worst; None before the first.
    errors
        By new token; see `torchmodes.results.records.Generation`.
    tied
        By new token of the last prompt, of each sequence: whether eager's own choice is that close.
    fault
        How its own generation is not what its steps foretell.
    """

    sequences: int = 0
    worst: Numerics | None = None
    errors: list[float | None] = field(default_factory=list)
    divergence: Divergence | None = None
    fault: str | None = None
    tied: list[list[bool]] = field(default_factory=list)


def compare_tokens(
    job: Job, baseline: WarmedUp, candidate: WarmedUp, others: tuple[int, ...]
) -> Tokens:
    """Generate from several prompts in eager, and follow its tokens in both sides.

    A mode that is given eager's tokens differs from eager by its own error alone, and its first
    token that differs is the one with which its own generation parts from eager's.

    Parameters
    ----------
    job
        The case.
    baseline, candidate
        After their first calls.
    others
        Numbers of input sets, beside the example's, whose prompts are taken.
    """
    assert baseline.sets is not None
    eager, mode = _decoding(baseline.workload), _decoding(candidate.workload)
    found = Tokens(errors=[0.0] * mode.new_tokens)
    for prompt in (0, *baseline.sets.numbers(others)):
        text = baseline.sets[prompt].tensors()[0].to(eager.text.device)
        with baseline.workload.context():
            expected = eager.greedy(text)
        continued = text.clone()
        continued[:, eager.prompt_length :] = expected.to(text.device)
        found.sequences += len(text)
        first = [mode.new_tokens] * len(text)  # of each sequence, the first token that differs
        found.tied = []
        sides = (_walk(side.workload, continued) for side in (baseline, candidate))
        for index, (one, other) in enumerate(zip(*sides, strict=True)):
            numerics = compare(one, other, precision=job.case.precision)
            _note(found, index, numerics)
            found.tied.append([_tie(row, *row.topk(2).indices, numerics.tolerance) for row in one])
            for sequence, (told, chosen) in enumerate(_choices(one, other)):
                if told != chosen and index < first[sequence]:
                    first[sequence] = index
                    apart = (prompt, sequence, index, told, chosen)
                    _keep(found, _divergence(one[sequence], *apart, tolerance=numerics.tolerance))
        with candidate.workload.context():
            own = mode.greedy(text)
        _check_own(found, prompt, first, expected, own)
    return found


def judged(job: Job, found: Tokens, step: Numerics) -> Numerics:
    """Say whether a mode's tokens are right: its logits within tolerance, in fp32 its choices too.

    A token that is another because two logits are equal within tolerance is none that is wrong. In
    lower precision such choices are told and not judged.

    Parameters
    ----------
    job, found
        The case, and what comparing found.
    step
        The comparison of the step that is timed; where both are right, the worse one is returned.
    """
    assert found.worst is not None
    apart, reason = found.divergence, found.worst.reason
    if found.worst.within_tolerance:
        decides = apart is not None and not apart.tie and job.case.precision == "fp32"
        reason = found.fault or (str(apart) if decides else None)
    elif apart is not None:
        reason = f"{reason}; {apart}"
    whole = found.worst.model_copy(
        update={
            "within_tolerance": reason is None,
            "reason": reason,
            "input_sets": step.input_sets,
            "inputs": step.inputs,
        }
    )
    if not whole.within_tolerance:
        return whole
    return max(step, whole, key=lambda numerics: (not numerics.within_tolerance, numerics.error))


def generation(job: Job, candidate: WarmedUp, found: Tokens) -> Generation:
    """Return what is known of a generation before any part of it is timed."""
    decoding = _decoding(candidate.workload)
    options = candidate.workload.engine.options
    return Generation(
        prompt_length=decoding.prompt_length,
        new_tokens=decoding.new_tokens,
        position=decoding.position,
        cache="static" if options.has_static_cache() else "dynamic",
        sequences=found.sequences,
        divergence=found.divergence,
        logit_errors=found.errors,
        compiled_at=sorted(set(decoding.compiled_at)),
        # The packed weights of PyTorch's own int8 cannot be counted.
        weight_bytes=None if job.mode.get("library") == "torch" else decoding.weight_bytes,
        cache_bytes=decoding.cache_bytes,
    )


def with_parts(
    job: Job, told: Generation, step: Statistics, baseline: WarmedUp, candidate: WarmedUp
) -> Generation:
    """Time the prompt and whole generations, both sides in turn, and hold them against the step."""
    sides = baseline.workload, candidate.workload
    prefill = _timed(job, *(_calling(side, _decoding(side).prompt) for side in sides))
    for side in sides:
        _decoding(side).token_s.clear()
    whole = _timed(job, *(_calling(side, _whole(_decoding(side))) for side in sides))
    between, own = (latency(_decoding(side).token_s) for side in sides)
    for side in sides:
        side.restart()
    steps = (told.new_tokens - 1) * step.candidate.median_s
    return told.model_copy(
        update={
            "prefill": prefill,
            "whole": whole,
            "between_tokens": own,
            "baseline_between_tokens": between,
            "accounted": (prefill.candidate.median_s + steps) / whole.candidate.median_s,
        }
    )


def cautions(told: Generation, *, quiet: bool) -> list[str]:
    """Return what of a generation gives reason to trust its figures less.

    Where others kept the machine busy, nothing is made of times that do not add up.
    """
    warnings = []
    if told.divergence is not None:
        warnings.append(f"its text is not eager's: {told.divergence}")
    if len(told.compiled_at) > COMPILED_ANYWAY:
        warnings.append(
            f"it was compiled anew at {len(told.compiled_at)} of the {told.new_tokens - 1}"
            " positions of the cache, such as"
            f" {', '.join(map(str, told.compiled_at[:3]))}: a cache that grows does that"
        )
    share = told.accounted
    if quiet and share is not None and not LEAST_ACCOUNTED <= share <= MOST_ACCOUNTED:
        warnings.append(
            f"its prompt and steps, each timed alone, take {100 * share:.0f} % of the time of a"
            " whole generation: go by the latter"
        )
    return warnings


def _decoding(workload: Workload) -> Decoding:
    assert workload.decoding is not None, "the task is generation"
    return workload.decoding


def _walk(workload: Workload, text: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the logits along a text on the host, each made within the workload's context."""
    steps = _decoding(workload).walk(text)
    while True:
        with workload.context():
            logits = next(steps, None)
            if logits is None:
                return
            copied = logits.detach().cpu().clone()  # CUDA graphs overwrite it at the next step
        yield copied


def _choices(one: torch.Tensor, other: torch.Tensor) -> list[tuple[int, int]]:
    return list(zip(one.argmax(-1).tolist(), other.argmax(-1).tolist(), strict=True))


def _note(found: Tokens, index: int, numerics: Numerics) -> None:
    """Keep a comparison of logits, if it is the first that failed or the worst so far."""
    error = numerics.relative_l2
    known = found.errors[index]
    found.errors[index] = None if error is None or known is None else max(known, error)
    if found.worst is not None and not found.worst.within_tolerance:
        return
    if not numerics.within_tolerance:
        reason = f"logits of token {index + 1}: {numerics.reason}"
        found.worst = numerics.model_copy(update={"reason": reason})
    elif found.worst is None or numerics.error > found.worst.error:
        found.worst = numerics


def _divergence(
    logits: torch.Tensor,
    prompt: int,
    sequence: int,
    index: int,
    expected: int,
    chosen: int,
    *,
    tolerance: float,
) -> Divergence:
    gap = float(logits[expected].double() - logits[chosen].double())
    return Divergence(
        prompt=prompt,
        sequence=sequence,
        token=index + 1,
        expected=expected,
        found=chosen,
        gap=gap,
        tie=_tie(logits, expected, chosen, tolerance),
    )


def _tie(logits: torch.Tensor, one: Any, other: Any, tolerance: float) -> bool:
    """Tell whether errors within tolerance, one each, let either of two logits be the larger."""
    row = logits.double()
    return float(row[one] - row[other]) <= 2 * tolerance * float(row.square().mean().sqrt())


def _keep(found: Tokens, apart: Divergence) -> None:
    """Keep the divergence that says most: one that is no tie, and of those the earliest token."""
    known = found.divergence
    if known is None or (apart.tie, apart.token) < (known.tie, known.token):
        found.divergence = apart


def _check_own(
    found: Tokens, prompt: int, first: list[int], expected: torch.Tensor, own: torch.Tensor
) -> None:
    """Hold a mode's own generation against what its steps along eager's tokens foretell."""
    for sequence, (index, told, chosen) in enumerate(zip(first, expected, own, strict=True)):
        same = int((told != chosen).int().argmax()) if bool((told != chosen).any()) else len(told)
        if same == index or found.fault is not None:
            continue
        if not found.tied[min(same, index)][sequence]:
            found.fault = (
                f"it generates other tokens than its steps do along eager's: the first that differs"
                f" is number {same + 1} instead of {index + 1} (prompt {prompt}, sequence"
                f" {sequence})"
            )


def _calling(workload: Workload, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call within its context: that takes microseconds, and these calls milliseconds."""

    def within() -> Any:
        with workload.context():
            return call()

    return within


def _whole(decoding: Decoding) -> Callable[[], Any]:
    return lambda: decoding.greedy(decoding.text)


def _timed(job: Job, baseline: Callable[[], Any], candidate: Callable[[], Any]) -> TimedPart:
    """Time two calls in turn, as `torchmodes.measure.sampler` does."""
    settings = job.measurement
    taken = sample(
        baseline,
        candidate,
        clock=make_clock(job.case.device),
        settings=SamplerSettings(
            target_half_width=settings.target_half_width,
            budget_s=PARTS_SHARE * settings.budget_s,
            warmup_budget_s=WARM_UP_S,
            min_quads=FEWEST_BLOCKS,
        ),
        seed=job.seed,
    )
    blocks = taken.samples.counted or taken.samples.blocks
    sides = statistics.sides([b.order for b in blocks], [b.seconds for b in blocks])
    effect = statistics.effect(statistics.log_ratios(*sides))
    one, other = (_latency(side, taken.samples.calls_per_sample) for side in sides)
    return TimedPart(
        speed_up=Interval(
            estimate=math.exp(effect.centre),
            low=effect.speed_up_low,
            high=effect.speed_up_high,
        ),
        log_speed_up=effect.centre,
        standard_error=effect.standard_error,
        blocks=len(blocks),
        baseline=one,
        candidate=other,
    )


def _latency(samples_s: Any, calls: int) -> Latency:
    return latency(samples_s, calls_per_sample=calls)
