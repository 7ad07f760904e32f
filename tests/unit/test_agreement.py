"""Does a mode in low precision choose as eager does, and is it any less exact?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from job_factory import make_job

from torchmodes.measure import agreement as agreement_module
from torchmodes.measure import exactness as exactness_module
from torchmodes.measure.agreement import agreement, choices, compare_choices, summarise
from torchmodes.measure.exactness import exactness
from torchmodes.measure.first_calls import warmed_up
from torchmodes.planning.job import Job

GPT2 = {
    "family": "transformers",
    "source": "gpt2",
    "weights": "random",
    "head": "causal-lm",
    "sequence_length": 8,
    "options": {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 32, "n_positions": 8},
}
BF16 = {"engine": "eager", "context": "inference_mode", "channels_last": False, "autocast": False}


def logits(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows)


def test_choices_are_compared_by_first_choice_lead_and_divergence():
    eager = logits((2.0, 1.0, 0.0), (0.0, 0.1, 0.0))
    mode = logits((2.0, 1.0, 0.5), (0.2, 0.1, 0.0))
    flipped, lead, divergence = compare_choices(eager, mode).unbind(-1)
    assert flipped.tolist() == [0, 1]
    assert lead.tolist() == pytest.approx([1.0, 0.1])
    p, q = eager.double().softmax(-1), mode.double().softmax(-1)
    assert divergence.tolist() == pytest.approx((p * (p / q).log()).sum(-1).tolist(), abs=1e-6)


def test_flips_are_told_by_eagers_own_lead():
    leads = torch.arange(8.0)
    flipped = torch.tensor([1.0, 1, 1, 0, 0, 0, 1, 0])
    decisions = torch.stack([flipped, leads, torch.zeros(8)], dim=-1).double()
    shuffled = decisions[torch.randperm(8, generator=torch.Generator().manual_seed(0))]
    found = summarise(shuffled, input_sets=2, random_weights=True)
    assert found.flips_by_lead == (1.0, 0.5, 0.0, 0.5)
    assert (found.top1, found.decisions, found.input_sets) == (0.5, 8, 2)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (torch.rand(4, 10), (4, 10)),
        ({"ids": torch.ones(2, 3, dtype=torch.long), "logits": torch.rand(2, 3, 5)}, (6, 5)),
        (torch.rand(3, 700, 2), (420, 2)),
        (torch.rand(4, 1), None),
        (torch.rand(4), None),
    ],
)
def test_logits_are_found_in_an_output_and_are_not_too_many(output: Any, shape: Any):
    found = choices(output)
    assert (None if found is None else tuple(found.shape)) == shape


def sides(precision: str = "bf16", model: dict[str, Any] = GPT2, **more: Any) -> tuple:
    job = make_job(f"inference/cpu/m/other/{precision}-b2", mode=BF16, model=model, **more)
    return job, warmed_up(job.baseline(), watched=True), warmed_up(job)


def test_a_language_model_in_bf16_is_compared_on_inputs_of_its_own(monkeypatch):
    monkeypatch.setattr(agreement_module, "BUDGET_S", 0.05)
    job, baseline, candidate = sides()
    before = [tensor.clone() for tensor in baseline.workload.inputs.tensors()]
    found = agreement(job, baseline, candidate)
    assert found is not None
    assert found.random_weights
    assert found.decisions == 16 * found.input_sets
    assert 0.5 < found.top1 <= 1
    assert 0 < found.kl_divergence < 1e-3
    assert all(map(torch.equal, before, baseline.workload.inputs.tensors()))


@pytest.mark.parametrize(
    ("precision", "model"),
    [("fp32", GPT2), ("bf16", GPT2 | {"head": "base"}), ("bf16", {"family": "mlp", "hidden": [8]})],
    ids=["fp32", "no head", "no classes"],
)
def test_there_are_no_choices_to_compare(precision: str, model: dict[str, Any]):
    assert agreement(*sides(precision, model)) is None


# --- Against fp64 ----------------------------------------------------------------------------


def test_bf16_is_thousands_of_times_less_exact_than_eager_is():
    job, baseline, candidate = sides()
    found = exactness(job, baseline, candidate, eager_s=0.001)
    assert found is not None
    assert found.reason is None
    assert found.eager is not None
    assert found.mode is not None
    assert 1e-8 < found.eager < 1e-6
    assert 1e-3 < found.mode < 2e-2


def test_eager_is_as_exact_as_eager_and_its_module_stays_in_fp32():
    job, baseline, candidate = sides("fp32")
    found = exactness(job, baseline, candidate, eager_s=0.001)
    assert found is not None
    assert found.eager == found.mode
    dtypes = {p.dtype for p in baseline.workload.built.module.parameters()}
    assert dtypes == {torch.float32}


def mixes_types(tokens: torch.Tensor) -> torch.Tensor:
    return torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.float64)


def test_what_is_not_run_in_fp64_says_why(monkeypatch):
    job, baseline, candidate = sides()

    def reason(job: Job = job, eager_s: float = 0.001) -> str:
        found = exactness(job, baseline, candidate, eager_s=eager_s)
        assert found is not None
        assert (found.eager, found.mode) == (None, None)
        assert found.reason is not None
        return found.reason

    assert reason(eager_s=1.5) == "a call of eager takes 1.5 s, more than 0.2 s"
    limited = SimpleNamespace(memory_limit_mb=1)
    monkeypatch.setattr(
        exactness_module, "own_memory", lambda: SimpleNamespace(resident_bytes=10**9)
    )
    tight = make_job(mode=BF16, model=GPT2, measurement=limited)
    assert reason(tight) == "measurement.memory_limit_mb leaves no room for it in fp64"
    monkeypatch.setattr(exactness_module, "MOST_BYTES", 1)
    assert reason().startswith("its parameters take 0.0 GB in fp64")
    monkeypatch.setattr(exactness_module, "MOST_BYTES", 2**30)
    monkeypatch.setattr(baseline.workload.built.module, "forward", mixes_types)
    assert reason().startswith("its eager model does not run in fp64 (RuntimeError: expected m1")
