"""A mode's autograd context: really entered, and outside of what is timed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_cases import mode
from job_factory import make_job

from torchmodes.measure.case import ContextClock
from torchmodes.measure.clock import CpuClock, Timing
from torchmodes.workloads.modes import precision
from torchmodes.workloads.modes.precision import allow_tf32
from torchmodes.workloads.training.dataset import Tensors
from torchmodes.workloads.training.loop import train
from torchmodes.workloads.workload import (
    inference_workload,
    training_workload,
    unsupported,
)


def job(options, *, path="inference/cpu/house_price/mine/fp32-b4"):
    return make_job(path, mode=options)


CONTEXTS = {"inference_mode": (True, False), "no_grad": (False, False), "grad": (False, True)}
"""Is the output an inference tensor; does it require gradients."""


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_subject_runs_in_its_modes_context(context):
    workload = inference_workload(job(mode("eager", context=context)))
    with workload.context():
        output = workload.call()
    assert (output.is_inference(), output.requires_grad) == CONTEXTS[context]


def test_what_is_built_can_serve_in_any_context():
    workload = inference_workload(job(mode("eager")))
    assert not any(parameter.is_inference() for parameter in workload.built.module.parameters())
    assert torch.is_grad_enabled(), "preparing leaves the process as it was"


class Watched(CpuClock):
    """A clock that looks at the context in which it starts."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def time(self, call, calls, *, events=False) -> Timing:
        self.seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return super().time(call, calls, events=events)


def test_the_context_is_entered_before_the_clock_starts_and_left_after():
    inner = Watched()
    one, other = (
        inference_workload(job(mode("eager", context=context))) for context in CONTEXTS
        if context != "no_grad"
    )  # fmt: skip
    clock = ContextClock(inner, one, other)
    for call in (one.call, other.call, lambda: None):
        assert clock.time(call, 2).host_s > 0
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert inner.seen == [(True, False), (False, True), (False, True)]
    assert (clock.name, clock.timer_s, clock.groupable) == (inner.name, inner.timer_s, True)


def tf32_allowed():
    return {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}


@pytest.fixture
def switched(monkeypatch):
    """Each time that tf32 is allowed or forbidden."""
    seen = []
    switch = precision.allow_tf32
    monkeypatch.setattr(
        precision, "allow_tf32", lambda *, allowed: (seen.append(allowed), switch(allowed=allowed))
    )
    allow_tf32(allowed=False)
    seen.clear()
    return seen


BATCH = (torch.ones(4, 5), torch.ones(4, 1))


def watched_subject(path):
    """Build a workload whose model tells whether tf32 is allowed when it runs."""
    made = job(mode("eager"), path=path)
    if made.case.task == "training":
        workload = training_workload(replace(made, learning_rate=0.1), [BATCH])
    else:
        workload = inference_workload(made)
    seen = []
    workload.built.module.register_forward_pre_hook(lambda *_: seen.append(tf32_allowed()))
    return workload, seen


@pytest.mark.parametrize("task", ["inference", "training"])
def test_tf32_is_switched_around_the_clock_and_not_in_the_call(task, switched):
    baseline, in_baseline = watched_subject(f"{task}/cpu/house_price/eager/fp32-b4")
    candidate, in_candidate = watched_subject(f"{task}/cpu/house_price/mine/tf32-b4")
    switched.clear()  # preparing is a matter of its own
    switches_while_timed = []

    class Counting(CpuClock):
        def time(self, call, calls, *, events=False) -> Timing:
            before = len(switched)
            timing = super().time(call, calls, events=events)
            switches_while_timed.append(len(switched) - before)
            return timing

    clock = ContextClock(Counting(), baseline, candidate)
    for workload in (baseline, candidate, candidate, baseline):
        clock.time(workload.call, 3)
        assert tf32_allowed() == {False}, "for the side that asks alone"
    assert switches_while_timed == [0, 0, 0, 0]
    assert in_candidate == [{True}] * 6
    assert in_baseline == [{False}] * 6


def test_a_training_in_tf32_is_validated_in_fp32(switched):
    workload = training_workload(
        replace(job(mode("eager"), path="training/cpu/m/eager/tf32-b4"), learning_rate=0.1), [BATCH]
    )
    stepping, validating = [], []

    def step(x, y):
        stepping.append(tf32_allowed())
        return workload.function(x, y)

    def evaluate(x):
        validating.append(tf32_allowed())
        return workload.built.module(x)

    tensors = Tensors(*BATCH, *BATCH, *BATCH)
    assert len([*train(
        step, evaluate, tensors, epochs=2, batch_size=4, seed=0, context=workload.context
    )]) == 2  # fmt: skip
    assert (stepping, validating) == ([{True}] * 2, [{False}] * 2)


def test_an_engine_that_only_infers_is_refused_a_training_step():
    path = "training/cpu/house_price/mine/fp32-b4"
    refused = unsupported(job(mode("export"), path=path))
    assert refused.reason == "the engine export executes a forward pass, not a training step"
    assert refused.remedy.endswith("eager, compile, fx, torchscript, user")
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
        "ask for one of fp8, int4, int8",
    )
