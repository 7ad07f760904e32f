"""A mode's autograd context: really entered, and outside of what is timed."""

from __future__ import annotations

import pytest
import torch
from engine_cases import mode

from torchmodes.cases import parse_case
from torchmodes.measure.case import ContextClock
from torchmodes.measure.clock import CpuClock, Timing
from torchmodes.subjects import Job, inference_subject, unsupported


def job(options, *, path="inference/cpu/house_price/mine/fp32-b4"):
    model = {"family": "mlp", "hidden": [8]}
    return Job(parse_case(path), model, options, seed=1, threads=1, features=5)


CONTEXTS = {"inference_mode": (True, False), "no_grad": (False, False), "grad": (False, True)}
"""Is the output an inference tensor; does it require gradients."""


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_subject_runs_in_its_modes_context(context):
    subject = inference_subject(job(mode("eager", context=context)))
    with subject.context():
        output = subject.call()
    assert (output.is_inference(), output.requires_grad) == CONTEXTS[context]


def test_what_is_built_can_serve_in_any_context():
    subject = inference_subject(job(mode("eager")))
    assert not any(parameter.is_inference() for parameter in subject.built.module.parameters())
    assert torch.is_grad_enabled(), "preparing leaves the process as it was"


class Watched(CpuClock):
    """A clock that looks at the context in which it starts."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def time(self, call, calls) -> Timing:
        self.seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return super().time(call, calls)


def test_the_context_is_entered_before_the_clock_starts_and_left_after():
    inner = Watched()
    one, other = (
        inference_subject(job(mode("eager", context=context))) for context in CONTEXTS
        if context != "no_grad"
    )  # fmt: skip
    clock = ContextClock(inner, one, other)
    for call in (one.call, other.call, lambda: None):
        assert clock.time(call, 2).host_s > 0
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert inner.seen == [(True, False), (False, True), (False, True)]
    assert (clock.name, clock.timer_s, clock.groupable) == (inner.name, inner.timer_s, True)


def test_an_engine_that_only_infers_is_refused_a_training_step():
    path = "training/cpu/house_price/mine/fp32-b4"
    refused = unsupported(job(mode("export"), path=path))
    assert refused.reason == "the engine export executes a forward pass, not a training step"
    assert refused.remedy.endswith("eager, compile, fx, torchscript")
    assert unsupported(job(mode("eager"), path=path)) is None


def test_int8_is_for_engines_that_quantise_and_these_are_for_int8():
    int8 = "inference/cpu/house_price/mine/int8-b4"
    assert unsupported(job(mode("quantize"), path=int8)) is None
    assert unsupported(job(mode("eager"), path=int8)).reason == (
        "the mode 'mine' does not quantise"
    )
    refused = unsupported(job(mode("quantize")))
    assert (refused.reason, refused.remedy) == (
        "the mode 'mine' does not compute in fp32",
        "ask for the precision int8",
    )
