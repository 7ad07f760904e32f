"""Generating text: are the tokens eager's, and how long do the prompt and the whole text take?

The decode step is measured like any other call; here is what is measured besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import stdtrit

from torchmodes.measure import statistics
from torchmodes.measure.agreement import compare_choices, summarise
from torchmodes.measure.clock import Clock, collector_paused, make_clock
from torchmodes.measure.first_calls import WarmedUp
from torchmodes.measure.latency import latency
from torchmodes.measure.numerics import compare
from torchmodes.measure.running import RunningClock
from torchmodes.measure.sampler import Order, orders
from torchmodes.planning.job import Job
from torchmodes.results.records import (
    Agreement,
    Divergence,
    Generation,
    Numerics,
    StepAt,
    TimedPart,
)
from torchmodes.workloads.workload import Workload

if TYPE_CHECKING:
    from torchmodes.workloads.generation import Decoding

PROMPTS_TIMED, STEPS_TIMED = 2, 3
"""Beside every whole generation; steps at each end of it, where one that is not timed leads in."""
MOST_BLOCKS = 50
LEAST_ACCOUNTED, MOST_ACCOUNTED = 0.95, 1.05
COMPILED_ANYWAY = 2
"""A step after the prompt is another shape, and the next one shows which sizes change."""


@dataclass
class Tokens:
    """What comparing a mode's tokens with eager's found.

    `worst` is the comparison of logits that failed first, or else the worst; `errors` are by new
    token; `decisions` tell of each token how far its choice is eager's (`measure/agreement.py`);
    `fault`: how its own generation is not what its steps foretell.
    """

    sequences: int = 0
    worst: Numerics | None = None
    errors: list[float | None] = field(default_factory=list)
    divergence: Divergence | None = None
    fault: str | None = None
    decisions: list[torch.Tensor] = field(default_factory=list)


def compare_tokens(
    job: Job, baseline: WarmedUp, candidate: WarmedUp, others: tuple[int, ...]
) -> Tokens:
    """Let eager write from several prompts, and lead both sides along its tokens.

    A mode that is given eager's tokens differs from eager by its own error alone, and its first
    token that differs is the one with which its own generation parts from eager's. From the first
    prompt the mode writes by itself as well, and is held to that. The `others` are numbers of input
    sets, beside the example's, whose prompts are taken.
    """
    assert baseline.sets is not None
    eager, mode = _decoding(baseline.workload), _decoding(candidate.workload)
    found = Tokens(errors=[0.0] * mode.new_tokens)
    for prompt in (0, *baseline.sets.numbers(others)):
        text = baseline.sets[prompt].tensors()[0].to(eager.text.device, copy=True)
        found.sequences += len(text)
        first = [mode.new_tokens] * len(text)  # of each sequence, the first token that differs
        tied: list[list[bool]] = []
        sides = (_walk(side.workload, text) for side in (baseline, candidate))
        for index, (one, other) in enumerate(zip(*sides, strict=True)):
            numerics = compare(one, other, precision=job.case.precision)
            _note(found, index, numerics)
            found.decisions.append(compare_choices(one.float(), other.float()))
            tied.append([_tie(row, *row.topk(2).indices, numerics.tolerance) for row in one])
            chosen_by_both = torch.stack([one.argmax(-1), other.argmax(-1)], -1).tolist()
            for sequence, (told, chosen) in enumerate(chosen_by_both):
                text[sequence, eager.prompt_length + index] = told  # both are fed with it next
                if told != chosen and index < first[sequence]:
                    first[sequence] = index
                    row = one[sequence].double()
                    apart = Divergence(
                        prompt=prompt,
                        sequence=sequence,
                        token=index + 1,
                        expected=told,
                        found=chosen,
                        gap=float(row[told] - row[chosen]),
                        tie=_tie(row, told, chosen, numerics.tolerance),
                    )
                    _keep(found, apart)
        if prompt == 0:
            with candidate.workload.context():
                own = mode.greedy(text)
            new = slice(eager.prompt_length, eager.prompt_length + eager.new_tokens)
            _check_own(found, first, tied, text[:, new].cpu(), own)
    return found


def choices(job: Job, found: Tokens) -> Agreement | None:
    """Say how often a mode of lower precision chooses as eager does, over all tokens compared."""
    if job.case.precision == "fp32":
        return None
    random_weights = job.model.get("weights", "random") == "random"
    return summarise(
        torch.cat(found.decisions),
        input_sets=found.sequences // job.case.batch_size,
        random_weights=random_weights,
    )


def judged(job: Job, found: Tokens, step: Numerics) -> Numerics:
    """Say whether a mode's tokens are right: its logits within tolerance, in fp32 its choices too.

    A token that is another because two logits are equal within tolerance is none that is wrong. In
    lower precision such choices are told and not judged. `step` is the comparison of the step that
    is timed; where both are right, the worse one is returned.
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
    cache = "static" if options.has_static_cache() else "dynamic"
    return Generation(
        prompt_length=decoding.prompt_length,
        new_tokens=decoding.new_tokens,
        position=decoding.position,
        cache=cache if decoding.empty else "own",
        sequences=found.sequences,
        divergence=found.divergence,
        logit_errors=found.errors,
        compiled_at=sorted(set(decoding.compiled_at)),
        # The packed weights of PyTorch's own int8 cannot be counted.
        weight_bytes=None if job.mode.get("library") == "torch" else decoding.weight_bytes,
        cache_bytes=decoding.cache_bytes,
    )


@dataclass(frozen=True)
class Passage:
    """A whole generation of one side, and its parts, each timed alone right after it, in seconds.

    `ends_s` are of the first step and of the last, `reference_s` of the library's own way to
    generate the same; None where there is none.
    """

    whole_s: float
    prompt_s: float
    ends_s: tuple[float, float]
    reference_s: float | None

    def accounted(self, steps: int) -> float:
        """Return what the prompt and so many steps take, of the whole.

        A step's time grows about linearly with its position, so that the mean is that of the ends.
        """
        return (self.prompt_s + steps * math.fsum(self.ends_s) / 2) / self.whole_s


def with_parts(job: Job, told: Generation, baseline: WarmedUp, candidate: WarmedUp) -> Generation:
    """Time whole generations and their parts, both sides in turn, and hold them to each other.

    Parts are timed beside each whole, for what a machine gives a process changes in seconds.
    """
    sides = {"A": baseline.workload, "B": candidate.workload}
    decodings = {name: _decoding(side) for name, side in sides.items()}
    for decoding in decodings.values():
        decoding.places = decoding.ends
        decoding.token_s.clear()
    clock, running = make_clock(job.case.device), RunningClock()
    blocks: list[tuple[Order, list[Passage]]] = []
    began = running.now()
    with collector_paused() as collect:
        for order in islice(orders(job.seed), MOST_BLOCKS):
            collect()
            stopped_s = running.stopped_s
            block = [
                # Eager's own case shows whether what is timed here is what transformers does.
                _passage(sides[name], clock, with_reference=name == "A" and job.case.is_baseline)
                for name in order
            ]
            spent = running.now() - began > job.measurement.budget_s
            if running.stopped_s == stopped_s:
                blocks.append((order, block))
            if spent and blocks:
                break
    if not blocks:
        return told
    of: dict[str, list[Passage]] = {"A": [], "B": []}
    for order, block in blocks:
        for name, passage in zip(order, block, strict=True):
            of[name].append(passage)
    between, own = (latency(decodings[name].token_s) for name in "AB")
    steps = told.new_tokens - 1
    accounted = {name: [one.accounted(steps) for one in of[name]] for name in "AB"}
    of_reference = [one.whole_s / one.reference_s for one in of["A"] if one.reference_s]
    return told.model_copy(
        update={
            "prefill": _timed_part(blocks, lambda one: one.prompt_s),
            "whole": _timed_part(blocks, lambda one: one.whole_s),
            "ends": [
                StepAt(
                    position=at,
                    median_s=median(one.ends_s[index] for one in of["B"]),
                    baseline_median_s=median(one.ends_s[index] for one in of["A"]),
                )
                for index, at in enumerate(decodings["B"].ends)
            ],
            "between_tokens": own,
            "baseline_between_tokens": between,
            "accounted": median(accounted["B"]),
            "baseline_accounted": median(accounted["A"]),
            "accounted_half_width": _half_width(*accounted.values()),
            "of_reference": median(of_reference) if of_reference else None,
        }
    )


def cautions(told: Generation, *, quiet: bool) -> list[str]:
    """Return what of a generation gives reason to trust its figures less.

    Times that do not add up are told where their uncertainty does not explain it, and others did
    not keep the machine busy.
    """
    warnings = []
    if told.divergence is not None:
        warnings.append(f"its text is not eager's: {told.divergence}")
    if len(told.compiled_at) > COMPILED_ANYWAY:
        warnings.append(
            f"it was recompiled at {len(told.compiled_at)} of the {told.new_tokens - 1}"
            " positions of the cache, such as"
            f" {', '.join(map(str, told.compiled_at[:3]))}: a growing cache causes that"
        )
    parts = (
        "its prompt and steps, each timed alone, take {} of the time of a whole generation: rely"
        " on the latter"
    )
    library = "eager's whole generation takes {} of the time of transformers' own generate"
    for share, told_as in ((told.accounted, parts), (told.of_reference, library)):
        if not quiet or share is None:
            continue
        slack = 1 + (told.accounted_half_width or 0.0)
        if share * slack < LEAST_ACCOUNTED or share / slack > MOST_ACCOUNTED:
            warnings.append(told_as.format(f"{100 * share:.0f} %"))
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
    found: Tokens,
    first: list[int],
    tied: list[list[bool]],
    expected: torch.Tensor,
    own: torch.Tensor,
) -> None:
    """Hold a mode's own generation against what its steps along eager's tokens foretell."""
    for sequence, (index, told, chosen) in enumerate(zip(first, expected, own, strict=True)):
        same = int((told != chosen).int().argmax()) if bool((told != chosen).any()) else len(told)
        if same == index or found.fault is not None:
            continue
        if not tied[min(same, index)][sequence]:
            found.fault = (
                f"it generates other tokens than its steps do along eager's: the first that differs"
                f" is number {same + 1} instead of {index + 1} (sequence {sequence})"
            )


def _passage(workload: Workload, clock: Clock, *, with_reference: bool) -> Passage:
    """Time a whole generation and its parts."""
    decoding = _decoding(workload)
    reference, taken_s = decoding.reference, None
    with workload.context():
        whole = clock.time(lambda: decoding.greedy(decoding.text), 1)
        prompt = clock.time(decoding.prompt, PROMPTS_TIMED)
        first, last = (_step_s(partial(decoding.again, at), clock) for at in decoding.ends)
        if reference is not None and with_reference:
            taken_s = clock.time(lambda: reference(decoding.text), 1).host_s
    return Passage(whole.host_s, prompt.host_s, (first, last), taken_s)


def _step_s(step: Callable[[], Any], clock: Clock) -> float:
    clock.time(step, 1)
    return clock.time(step, STEPS_TIMED).host_s


def _half_width(*sides: Sequence[float]) -> float:
    """Return the relative 95 % half-width of a side's share: both sides' shares spread alike."""
    logs = [np.log(side) for side in sides]
    freedom = sum(len(side) - 1 for side in logs)
    variance = sum(float(np.square(side - side.mean()).sum()) for side in logs) / freedom
    return math.expm1(float(stdtrit(freedom, 0.975)) * math.sqrt(variance / len(logs[0])))


def _timed_part(
    blocks: Sequence[tuple[Order, Sequence[Passage]]], seconds: Callable[[Passage], float]
) -> TimedPart:
    """Tell of one part in all blocks how its speed-up is, and how long it takes."""
    sides = statistics.sides(
        [order for order, _ in blocks], [[seconds(one) for one in block] for _, block in blocks]
    )
    effect = statistics.effect(statistics.log_ratios(*sides))
    one, other = (latency(side) for side in sides)
    return TimedPart(
        speed_up=effect.ratio,
        log_speed_up=effect.centre,
        standard_error=effect.independent_error,
        blocks=len(blocks),
        baseline=one,
        candidate=other,
    )
