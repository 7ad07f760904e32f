"""Text generation by a model of the user's, whose state is its own: here that of an LSTM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tests.engine_cases import mode
from torchmodes.config.models import Model, cannot_generate
from torchmodes.config.run import Measurement
from torchmodes.measure.case import measure
from torchmodes.planning.cases import parse_case
from torchmodes.planning.job import EAGER, Job
from torchmodes.workloads import generation
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.workload import carry_out, workload_of

PROMPT, NEW = 5, 4
WRITER = """
import torch
from torch import nn

class Writer(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.embed = nn.Embedding(31, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 31)
        self.fault = fault

    def prefill(self, tokens):
        out, state = self.lstm(self.embed(tokens))
        return self.head(out[:, -1]), {"state": state}

    def decode(self, token, state):
        out, new = self.lstm(self.embed(token), state["state"])
        if self.fault == "in place":
            state["state"][0].copy_(new[0])
        logits = self.head(out[:, -1])
        if self.fault == "logits alone":
            return logits
        if self.fault == "one token":
            return logits[:, :1], {"state": new}
        if self.fault == "other parts":
            return logits, {"state": new[0]}
        return logits, {"state": new}

def tokens(batch_size):
    return torch.randint(31, (batch_size, 9))

def few(batch_size):
    return tokens(batch_size)[:, :8]

def floats(batch_size):
    return torch.rand(batch_size, 9)

def linear():
    return nn.Linear(9, 2)
"""


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "writer.py"
    path.write_text(WRITER)
    return {
        "family": "user",
        "factory": f"{path}:Writer",
        "inputs": f"{path}:tokens",
        "generation": {"prompt_length": PROMPT, "new_tokens": NEW},
    }


def job(described: dict[str, Any], section: dict[str, Any] = EAGER) -> Job:
    name = "eager" if section == EAGER else "mode"
    return Job(
        case=parse_case(f"generation/cpu/writer/{name}/fp32-b2"),
        model=TypeAdapter(Model).validate_python(described).model_dump(),
        mode=section,
        seed=3,
        threads=1,
        measurement=Measurement(budget_s=0.05, warmup_budget_s=0.05),
    )


def by_hand(model: Any, prompt: torch.Tensor) -> list[list[int]]:
    """Write as the model's author would."""
    found: list[torch.Tensor] = []
    logits, state = model.prefill(prompt)
    for _ in range(NEW):
        found.append(logits.argmax(-1, keepdim=True))
        logits, state = model.decode(found[-1], state)
    return torch.cat(found, dim=1).tolist()


@pytest.mark.parametrize(
    "section", [EAGER, mode("compile", backend="eager")], ids=["eager", "compile"]
)
def test_it_writes_what_its_author_would(
    described: dict[str, Any], section: dict[str, Any]
) -> None:
    workload = workload_of(job(described, section))
    text = workload.decoding
    assert text is not None
    with workload.context():
        expected = by_hand(workload.built.module, text.text[:, :PROMPT])
        assert text.greedy(text.text).tolist() == expected
        assert text.greedy(text.text).tolist() == expected, "it begins anew"


def test_its_case_is_measured_like_any_other(described: dict[str, Any]) -> None:
    found = carry_out(measure, job(described, mode("compile", backend="eager")))
    assert found["status"] == "ok", found["reason"]
    told = found["generation"]
    assert told["cache"] == "own"
    assert told["divergence"] is None
    assert told["cache_bytes"] == 2 * 2 * 16 * 4, "hidden and cell state of two texts"
    assert [step["position"] for step in told["ends"]] == [PROMPT, PROMPT + NEW - 2]
    assert told["of_reference"] is None


def test_a_state_that_decode_confuses_is_wrong(described: dict[str, Any], monkeypatch) -> None:
    made = generation.own_decoding

    def spoilt(model: Any, *args: Any, engine: Any, **lengths: Any) -> Any:
        decoding = made(model, *args, engine=engine, **lengths)
        if engine.options.engine == "compile":
            decoding.step = lambda ids, at, *state: decoding.prefill(
                ids, at, *map(torch.zeros_like, state)
            )
        return decoding

    monkeypatch.setattr(generation, "own_decoding", spoilt)
    found = carry_out(measure, job(described, mode("compile", backend="eager")))
    assert found["status"] == "wrong"
    assert "logits of token 2" in found["reason"], "the prompt is right"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"factory": "linear"}, "Linear has no method 'prefill': to generate text the factory's"),
        ({"fault": "in place"}, r"decode\(token, state\) writes into the state that it is given"),
        ({"fault": "logits alone"}, r"decode\(token, state\) must return \(logits, state\)"),
        ({"fault": "one token"}, r"decode\(token, state\) returned logits of one token"),
        ({"fault": "other parts"}, "returned a state of other parts than prefill's"),
        ({"inputs": "few"}, "inputs: returned 8 tokens of each text, and generation takes 9"),
        ({"inputs": "floats"}, r"inputs: .* one tensor of token ids \(torch.long\)"),
    ],
)
def test_what_does_not_keep_to_the_protocol_is_told_before_any_work(
    described: dict[str, Any], changes: dict[str, str], told: str
) -> None:
    folder = described["factory"].removesuffix(":Writer")
    for key, name in changes.items():
        described |= {"options": {"fault": name}} if key == "fault" else {key: f"{folder}:{name}"}
    with pytest.raises(ValueError, match=told):
        workload_of(job(described))


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (mode("onnxruntime"), "the engine onnxruntime takes inputs of one kind, and a state of"),
        (mode("eager", cache="static"), "cache: static is for models of transformers"),
    ],
    ids=["onnxruntime", "static"],
)
def test_modes_that_cannot_keep_its_state_say_why(
    described: dict[str, Any], section: dict[str, Any], reason: str
) -> None:
    found = carry_out(measure, job(described, section))
    assert found["status"] == "unsupported"
    assert found["reason"].startswith(reason)
    assert found["remedy"]


def test_cuda_graphs_are_refused_a_state_that_is_kept() -> None:
    case = parse_case("generation/cuda/writer/mode/fp32-b2")
    for name, refused in (("reduce-overhead", True), ("max-autotune", True), ("default", False)):
        engine = create_engine(mode("compile", mode=name))
        found = engine.supports(case, family="user")
        assert ("CUDA graphs write the same memory" in str(found)) is refused


def test_lengths_are_asked_for(described: dict[str, Any]) -> None:
    assert cannot_generate(described) is None
    without = {key: value for key, value in described.items() if key != "generation"}
    assert "has no lengths for generation; set `generation:" in str(cannot_generate(without))
    inputs = described.pop("inputs")
    with pytest.raises(ValidationError, match="texts have one length; give `inputs`"):
        TypeAdapter(Model).validate_python({**described, "schedule": inputs})


def test_another_task_does_not_depend_on_the_lengths(described: dict[str, Any]) -> None:
    case = replace(job(described), case=parse_case("inference/cpu/writer/eager/fp32-b2"))
    with pytest.raises(NotImplementedError):  # it has no forward, and needs none to generate
        workload_of(case).call()
