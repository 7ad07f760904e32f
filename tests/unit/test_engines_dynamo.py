"""torch.compile that goes on in eager: at the recompile limit, or where Dynamo gives up a frame."""

from __future__ import annotations

import pytest
import torch
from engine_cases import mode
from torch import nn

from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.structures import Inputs

LIMIT = torch._dynamo.config.recompile_limit
x = torch.linspace(-1, 1, 8).reshape(2, 4)


class Steps(nn.Module):
    """An attribute that changes at every call: a guard that fails at every call."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(4, 4), 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x)


class Turns(nn.Module):
    """A setting that comes back: more of them than versions are compiled, every third is one."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls, self.setting = nn.Linear(4, 4), 0, 0

    def forward(self, x):
        return self.linear(x) * self.setting


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.rnn(x[:, None])[0])


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch._dynamo.utils.graph_break_reasons.clear()
    torch._dynamo.utils.clear_compilation_metrics()


def called(options, model, *, calls):
    """Return an engine whose mode has called a model."""
    engine = create_engine(options)
    with torch.no_grad():
        call = engine.prepare(model.eval(), Inputs((x,)))
    with engine.context():
        for _ in range(calls):
            call(x)
    return engine


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [None, True, False])
def test_eager_code_after_the_recompile_limit_is_no_effect(backend, dynamic):
    options = mode("compile", backend=backend, dynamic=dynamic)
    facts = called(options, Steps(), calls=LIMIT + 2).stats()
    assert facts["compiled_calls"] == {"ran": 0, "of": 10}
    assert facts["no_effect"].startswith(
        f"recompile_limit ({LIMIT}) was reached, for self.calls == {LIMIT - 1}  # "
    )
    assert facts["no_effect"].endswith("from then on eager code ran")
    assert facts["recompiles"] == LIMIT - 1
    last, *_ = facts["recompile_reasons"]
    assert last.startswith(f"self.calls == {LIMIT - 1}  # self.calls += 1  # ")
    assert "test_engines_dynamo.py" in last
    assert len(facts["recompile_reasons"]) == 5, "those before say the same of other values"


def test_recompiles_below_the_limit_are_told_with_their_reason_only():
    facts = called(mode("compile", backend="eager"), Steps(), calls=3).stats()
    assert facts["recompiles"] == 2
    guards = [reason.partition("  # ")[0] for reason in facts["recompile_reasons"]]
    assert guards == ["self.calls == 1", "self.calls == 0"]
    assert not {"no_effect", "compiled_calls", "warnings"} & facts.keys()


def test_a_model_that_is_compiled_once_has_none_of_it():
    facts = called(mode("compile", backend="eager"), nn.Linear(4, 4), calls=LIMIT + 4).stats()
    assert facts == {"graphs": 1, "graph_breaks": {}, "recompiles": 0, "cudagraph_skips": 0}


def test_calls_that_a_compiled_version_fits_are_told_apart():
    model = Turns()
    engine = called(mode("compile", backend="eager"), model, calls=1)
    with engine.context():
        for model.setting in range(LIMIT + 2):
            engine.compiled(x)
        model.setting = 3
        facts = engine.stats()
    assert facts["compiled_calls"] == {"ran": 10, "of": 10}
    assert "no_effect" not in facts
    (warning,) = facts["warnings"]
    assert warning.startswith(f"recompile_limit ({LIMIT}) was reached, for self.setting")
    assert warning.endswith("compiled code took part in 10 of 10 calls")


@pytest.mark.parametrize("scope", ["model", "step"])
def test_a_training_step_that_reached_the_limit_is_no_effect(scope):
    engine, model = create_engine(mode("compile", backend="eager", scope=scope)), Steps()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def make_step(run):
        def step(features, target):
            optimizer.zero_grad()
            loss = (run(features) - target).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    step = engine.prepare_step(model, (x, x), make_step)
    for _ in range(LIMIT + 2):
        step(x, x)
    facts = engine.stats()
    told = facts.get("no_effect") or facts["warnings"][0]
    assert told.startswith(f"recompile_limit ({LIMIT}) was reached, for ")
    assert any("calls ==" in reason for reason in facts["recompile_reasons"])
    if scope == "model":
        assert facts["compiled_calls"] == {"ran": 0, "of": 10}


def test_why_dynamo_captured_nothing_is_told():
    facts = called(mode("compile", backend="eager"), Recurrent(), calls=2).stats()
    why = "Attempted to wrap RNN, GRU, or LSTM: Dynamo does not support RNN, GRU, or LSTM."
    assert facts["frames_skipped"] == {why: 1}
    assert facts["graph_breaks"] == {}
    assert facts["no_effect"] == f"torch.compile captured no graph: eager code ran ({why})"
