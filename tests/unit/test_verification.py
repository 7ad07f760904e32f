"""Whole cases of small models and modes that could pass for right: what is said of each."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from job_factory import make_job

from torchmodes.config.run import Measurement
from torchmodes.measure.case import measure
from torchmodes.measure.first_calls import LOSSES_COMPARED, WarmedUp, losses_of
from torchmodes.measure.verification import FURTHER, compare_again, compare_first
from torchmodes.planning.job import EAGER
from torchmodes.workloads.workload import carry_out, training_workload

MODELS = """
import itertools
import random

import torch
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(16, 16)


class Plain(Base):
    def forward(self, x):
        return torch.relu(self.lin(x))


class Biased(Base):
    def forward(self, x):
        return self.lin(x) + 30_000


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(16, 1024), *(nn.Linear(1024, 1024),) * 8))

    def forward(self, x):
        return self.layers(x)


class CountsInABuffer(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen.add_(1)
        return self.lin(x) + self.seen


class CountsInAnAttribute(Base):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.lin(x) * self.calls


class CachesOnce(Base):
    def __init__(self):
        super().__init__()
        self.table = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.linspace(0, 1, 16)
        return self.lin(x) + self.table


class Remembers(Base):
    def __init__(self):
        super().__init__()
        self.history = []

    def forward(self, x):
        self.history.append(self.lin(x))
        return torch.stack(self.history).sum(0)


class WritesItsInput(Base):
    def forward(self, x):
        return self.lin(x.sub_(0.5).div_(0.25))


class Branches(Base):
    def forward(self, x):
        y = self.lin(x)
        return y.sigmoid() if y[0, 0] > 0 else y.exp()


class BranchesSeldom(Base):
    def forward(self, x):
        y = self.lin(x)
        return y.exp() if x[0, 0] > 1.8 else y.sigmoid()


class LeavesTorch(Base):
    def forward(self, x):
        return torch.from_numpy(self.lin(x).detach().numpy().clip(-1, 1))


class CountsUnseen(Base):
    def __init__(self):
        super().__init__()
        self.calls = itertools.count(1)

    def forward(self, x):
        return self.lin(x) * next(self.calls)


class DropsOut(Base):
    def forward(self, x):
        return nn.functional.dropout(self.lin(x), 0.5, training=True)


class RollsDice(Base):
    def forward(self, x):
        return self.lin(x) * random.random()


class LeavesOneThread(Plain):
    def __init__(self):
        super().__init__()
        torch.set_num_threads(1)


class ReturnsNothing(Base):
    def forward(self, x):
        self.lin(x)


class ReturnsNaN(Base):
    def forward(self, x):
        return self.lin(x) * float("nan")


class ReturnsText(Base):
    def forward(self, x):
        return {"label": "cat", "rows": len(x), "none": None}["label"]


class Clamps(Base):
    def forward(self, x):
        return self.lin(x.clamp(-1, 1))


class Yields(Base):
    def forward(self, x):
        for _ in range(3):
            yield self.lin(x)


class MapsInADict(Base):
    def forward(self, x):
        return {"rows": map(self.lin, x)}


class Labels(Base):
    def forward(self, x):
        return {"scores": self.lin(x), "label": "cat", "more": (None, "dog")}


class ReturnsSparse(Base):
    def forward(self, x):
        y = self.lin(x)
        return y.relu().to_sparse(), (y > 0).to_sparse_csr()


class TakesSparse(Base):
    def forward(self, weights, x):
        return weights @ self.lin(x)


class ReturnsNested(Base):
    def forward(self, x):
        return torch.nested.nested_tensor(list(self.lin(x)))


class ReturnsJagged(Base):
    def forward(self, x):
        return torch.nested.nested_tensor(list(self.lin(x)), layout=torch.jagged)


class Sorts(nn.Module):
    def forward(self, x):
        return torch.argsort(x, -1)


def build(name):
    return globals()[name]()


def rows(batch_size):
    return torch.randn(batch_size, 16)


def with_coo(batch_size):
    return torch.randn(batch_size, batch_size).relu().to_sparse(), torch.randn(batch_size, 16)


def with_csr(batch_size):
    return torch.eye(batch_size).to_sparse_csr(), torch.randn(batch_size, 16)


def fixed(batch_size):
    return torch.arange(16.0 * batch_size).reshape(batch_size, 16) / 16


def ragged(batch_size):
    return torch.randn(batch_size, int(torch.randint(2, 9, ())), 16)


def never_the_same(batch_size):
    generator = torch.Generator()
    generator.seed()
    return torch.randn(batch_size, 16, generator=generator)


def picky(batch_size):
    return torch.linspace(0, 1, 16 * batch_size).reshape(batch_size, 16)


class Picky(Base):
    def forward(self, x):
        if (x.flatten().diff() < 0).any():
            raise ValueError("rows must be sorted")
        return self.lin(x)
"""

ROWS = """
import torch


def rows(batch_size):
    return torch.randn(batch_size, 16)
"""

ENGINES = """
import copy
import functools
import itertools
import time

import torch
from torch.nn import functional as F


def honest(model, inputs):
    return model


def right_for_a_while(model, inputs):
    calls = [0]

    def call(*args):
        calls[0] += 1
        return model(*args) if calls[0] <= 6 else torch.zeros(())

    return call


def remembers_tensors(model, inputs):
    seen = {}

    def call(*args):
        key = tuple(map(id, args))
        if key not in seen:
            seen[key] = model(*args)
        return seen[key]

    return call


def remembers_values(model, inputs):
    seen = {}

    def call(x):
        key = x.numpy().tobytes()
        if key not in seen:
            seen[key] = model(x)
        return seen[key]

    return call


def knows_three_inputs(model, inputs):
    known = set()

    def call(x):
        key = x.numpy().tobytes()
        known.update([key] if len(known) < 3 else [])
        return model(x) if key in known else torch.zeros(())

    return call


def wrong_at_every_tenth_call(model, inputs):
    calls = itertools.count(1)
    return lambda x: model(x) * (next(calls) % 10 > 0)


def remembers_until_written(model, inputs):
    seen = {}

    def call(x):
        if seen.get("version") != x._version:
            seen.update(version=x._version, output=model(x))
        return seen["output"]

    return call


def writes_nothing(model, inputs):
    shape = model(*inputs).shape  # and the right answer lies in memory that is free again
    return lambda *args: torch.empty(shape)


class Promise(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kept = [arg.compute() if type(arg) is cls else arg for arg in args]
        with torch._C.DisableTorchFunctionSubclass():
            return function(*kept, **(kwargs or {}))


def promises(model, inputs, after=0):
    calls = itertools.count()
    empty = torch.empty_like(model(*inputs))

    def call(*args):
        if next(calls) < after:
            return model(*args)
        promise = torch.Tensor._make_subclass(Promise, empty)
        promise.compute = lambda: model(*args)
        return promise

    return call


def promises_later(model, inputs):
    return promises(model, inputs, after=6)


def answers_the_example(model, inputs):
    expected = model(*inputs.args if hasattr(inputs, "args") else inputs)
    return lambda *args: expected


def freezes_state(model, inputs):
    return lambda *args: copy.deepcopy(model)(*args)


def calls_it_a_dog(model, inputs):
    return lambda x: model(x) | {"label": "dog"}


def says_dog_while_timed(model, inputs):
    calls = itertools.count()
    return lambda x: model(x) | ({"label": "dog"} if next(calls) > 7 else {})


def doubles(model, inputs):
    return lambda *args: model(*args).double()


def swaps_two(model, inputs):
    def call(*args):
        output = model(*args).clone()
        output[..., :2] = output[..., [1, 0]]
        return output

    return call


def writes_while_it_prepares(model, inputs):
    model(*inputs)
    return model


def writes_into_its_inputs(model, inputs):
    return lambda x: model(x.clamp_(-1, 1))


def computes_on_copies(model, inputs):
    return lambda *args: model(*(arg.clone() for arg in args))


def one_thread(model, inputs):
    torch.set_num_threads(1)
    return model


def other_dtype(model, inputs):
    torch.set_default_dtype(torch.float64)
    return model


def deterministic(model, inputs):
    torch.use_deterministic_algorithms(True)
    return model


def hooks_every_module(model, inputs):
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    return model


def hooks_every_gradient(model, inputs):
    torch.nn.modules.module.register_module_full_backward_pre_hook(lambda *_: None)
    return model


def hooks_every_parameter(model, inputs):
    torch.nn.modules.module.register_module_parameter_registration_hook(lambda *_: None)
    return model


def flushes_denormals(model, inputs):
    torch.set_flush_denormal(True)
    return model


def lowers_matrix_products(model, inputs):
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    return model


def stretches_time(model, inputs):
    real = time.perf_counter_ns
    time.perf_counter_ns = lambda: real() // 2
    return model


def replaces_a_layer(model, inputs):
    torch.nn.Linear = type("Linear", (torch.nn.Linear,), {})
    return model


def patches_its_class(model, inputs):
    original = type(model).forward
    type(model).forward = lambda self, x: original(self, x) * 2
    return model


def patches_linear(model, inputs):
    original = F.linear
    F.linear = functools.wraps(original)(lambda *args: original(*args))
    return model


def patches_later(model, inputs):
    calls = [0]

    def call(*args):
        calls[0] += 1
        if calls[0] > 6:
            torch.backends.mha.set_fastpath_enabled(False)
        return model(*args)

    return call


def patches_while_called(model, inputs):
    def call(*args):
        torch.backends.mha.set_fastpath_enabled(False)
        return model(*args)

    return call
"""


@pytest.fixture
def process() -> Any:
    """Put back what a case sets in its process, which here is that of the tests."""
    before = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.nn.functional.linear,
        torch.nn.Linear,
        time.perf_counter_ns,
    )
    yield
    torch.set_num_threads(before[0])
    torch.set_default_dtype(before[1])
    torch.set_grad_enabled(before[2])
    torch.nn.functional.linear, torch.nn.Linear, time.perf_counter_ns = before[3:]
    torch.set_flush_denormal(False)
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    torch.use_deterministic_algorithms(False)
    torch.backends.mha.set_fastpath_enabled(True)
    for kind in ("forward", "backward_pre", "parameter_registration"):
        getattr(torch.nn.modules.module, f"_global_{kind}_hooks").clear()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, process: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Measure a model in a mode, both of the files above, in some hundredths of a second."""
    models, engines = tmp_path / "models.py", tmp_path / "engines.py"
    engines.write_text(ENGINES)
    monkeypatch.setattr("torchmodes.measure.verification.FURTHER_S", 0.0)
    # In a short run on a busy machine a share of the time would be enough for no second look.
    monkeypatch.setattr("torchmodes.measure.spot_checks.TIME_SHARE", 1.0)

    def measured(
        model: str,
        mode: str | dict[str, Any] = "eager",
        inputs: str = "rows",
        budget_s: float = 0.02,
        code: str = "",
    ) -> dict:
        models.write_text(code + ROWS if code else MODELS)
        options = (
            mode
            if isinstance(mode, dict)
            else EAGER
            if mode == "eager"
            else {"engine": "user", "factory": f"{engines}:{mode}", "options": {}}
        )
        job = make_job(
            f"inference/cpu/mine/{'eager' if mode == 'eager' else 'other'}/fp32-b4",
            mode=options,
            model={
                "family": "user",
                "factory": f"{models}:build",
                "inputs": f"{models}:{inputs}",
                "options": {} if code else {"name": model},
                "item": "row",
            },
            seed=42,
            threads=2,
            features=None,
            measurement=Measurement.model_construct(
                target_half_width=0.5, budget_s=budget_s, warmup_budget_s=0.02, min_quads=3
            ),
        )
        return carry_out(measure, job)

    return measured


NO_GRAD = {"engine": "eager", "context": "no_grad", "channels_last": False, "autocast": False}
TRACE = {
    "engine": "torchscript",
    "method": "trace",
    "freeze": False,
    "optimize_for_inference": False,
}


def test_a_constant_is_wrong_where_outputs_vary_by_less_than_the_tolerance(run: Run):
    assert run("Biased", "answers_the_example")["reason"] == (
        "on other inputs: its output is the same for all of them, and eager's is not"
    )
    assert run("Biased", "computes_on_copies")["status"] == "ok"


def test_outputs_are_compared_on_inputs_of_the_models_own_before_and_after_sampling(run: Run):
    found = run("Plain", NO_GRAD)
    assert found["status"] == "ok"
    # The example and two others; then a new one.
    assert (found["numerics"]["input_sets"], found["numerics"]["inputs"]) == (4, "drawn")
    assert found["warnings"] == [w for w in found["warnings"] if "input" not in w]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("right_for_a_while", "while it was timed: output has the shape (), the baseline's is"),
        ("knows_three_inputs", "after sampling: output has the shape (), the baseline's is"),
        ("remembers_tensors", "on other inputs: output: relative L2 error"),
        ("answers_the_example", "on other inputs: output: relative L2 error"),
        ("swaps_two", "output: relative L2 error"),
        ("wrong_at_every_tenth_call", "while it was timed: output: relative L2 error"),
        ("promises", "the output holds a Promise, which eager's does not: it may compute"),
        ("promises_later", "while it was timed: the output holds a Promise, unlike any before"),
    ],
)
def test_a_mode_that_is_right_once_is_wrong(run: Run, mode: str, reason: str):
    found = run("Plain", mode)
    assert found["status"] == "wrong"
    assert found["reason"].startswith(reason)
    assert found["remedy"].startswith("do not use this mode")
    assert found["statistics"] is None


@pytest.mark.parametrize("model", ["Branches", "LeavesTorch"])
def test_a_trace_that_holds_for_one_input_is_wrong_and_its_warnings_are_told(run: Run, model: str):
    found = run(model, TRACE | {"freeze": True})
    assert found["status"] == "wrong"
    assert found["reason"].startswith("on other inputs: ")
    assert any(warning.startswith("tracing warned: ") for warning in found["warnings"])
    assert any("(models.py, line " in warning for warning in found["warnings"])


def test_a_branch_that_few_inputs_take_is_found_among_further_ones(run: Run, monkeypatch):
    monkeypatch.setattr("torchmodes.measure.verification.FURTHER_S", 600.0)
    found = run("BranchesSeldom", TRACE)
    assert found["status"] == "wrong"
    assert found["reason"].startswith("after sampling: output: relative L2 error")
    assert run("BranchesSeldom", NO_GRAD)["numerics"]["input_sets"] == 4 + len(FURTHER)


@pytest.mark.parametrize("model", ["CountsInABuffer", "CountsInAnAttribute"])
def test_a_model_that_keeps_state_is_compared_after_equally_many_calls(run: Run, model: str):
    name = {"CountsInABuffer": "seen", "CountsInAnAttribute": "calls"}[model]
    aa, other = run(model), run(model, NO_GRAD)
    assert (aa["status"], other["status"]) == ("ok", "ok")
    assert aa["numerics"]["input_sets"] == other["numerics"]["input_sets"] == 4
    assert any(f"keeps state that changes at every call ({name})" in w for w in aa["warnings"])
    assert not any("state" in w for w in other["warnings"]), "told once, by the A/A case"


def test_a_mode_that_froze_the_state_is_wrong(run: Run):
    found = run("CountsInAnAttribute", "freezes_state")
    assert found["status"] == "wrong"
    assert found["reason"].endswith("; the model keeps state that changes at every call (calls)")
    assert found["remedy"].startswith("do not use this mode")


def test_what_is_computed_once_and_kept_is_no_state(run: Run):
    found = run("CachesOnce")
    assert found["status"] == "ok"
    assert not any("state" in warning for warning in found["warnings"])


def test_a_state_that_grows_is_refused(run: Run):
    found = run("Remembers")
    assert found["status"] == "unsupported"
    assert found["reason"] == (
        "the model's state grows at every call: history grows from 128 to 192 values in one call"
    )
    assert "begin from a fresh state" in found["remedy"]


@pytest.mark.parametrize(
    "mode",
    ["eager", NO_GRAD, "honest", TRACE, "writes_while_it_prepares", "computes_on_copies"],
)
def test_a_model_that_writes_into_its_input_gets_fresh_ones(run: Run, mode: Any):
    found = run("WritesItsInput", mode)
    assert found["status"] == "ok"
    assert found["numerics"]["input_sets"] == 4
    told = "the model writes into its inputs: each sample begins with fresh ones"
    assert (told in found["warnings"]) is (mode == "eager")


@pytest.mark.parametrize("model", ["DropsOut", "RollsDice"])
def test_a_model_that_draws_at_random_is_told_at_its_cause(run: Run, model: str):
    aa, other = run(model), run(model, NO_GRAD)
    assert aa["status"] == other["status"] == "wrong"
    assert aa["reason"] == other["reason"]
    assert aa["reason"].startswith("the model is not deterministic")
    assert aa["remedy"] == other["remedy"]
    assert "dropout" in aa["remedy"]


@pytest.mark.parametrize("mode", ["eager", NO_GRAD])
def test_a_state_that_nobody_sees_is_the_models_fault(run: Run, mode: Any):
    found = run("CountsUnseen", mode)
    assert found["status"] == "wrong"
    assert found["reason"].endswith("its output for the same inputs changes from call to call")
    assert "follow from its inputs and weights alone" in found["remedy"]


@pytest.mark.parametrize(
    ("model", "reason", "remedy"),
    [
        ("ReturnsNothing", "the model returns no tensor (NoneType)", "return from forward"),
        ("ReturnsText", "the model returns no tensor (str)", "return from forward"),
        ("ReturnsNaN", "in eager, the model returns nothing but NaN", "give it weights and inputs"),
    ],
)
def test_a_model_that_verifies_nothing_is_told_at_its_cause(
    run: Run, model: str, reason: str, remedy: str
):
    for mode in ("eager", NO_GRAD):
        found = run(model, mode)
        assert found["status"] == "wrong"
        assert found["reason"].startswith(reason)
        assert found["remedy"].startswith(remedy)


def test_texts_beside_tensors_are_compared(run: Run):
    assert run("Labels")["status"] == "ok"
    assert run("Labels", "honest")["status"] == "ok"
    other = run("Labels", "calls_it_a_dog")
    assert other["status"] == "wrong"
    assert other["reason"] == "output['label'] is 'dog', the baseline's is 'cat'"
    assert other["remedy"].startswith("do not use this mode")
    later = run("Labels", "says_dog_while_timed")
    assert later["reason"] == f"while it was timed: {other['reason']}"


@pytest.mark.parametrize(("model", "kind"), [("Yields", "generator"), ("MapsInADict", "map")])
def test_what_computes_when_it_is_read_is_refused(run: Run, model: str, kind: str):
    for mode in ("eager", NO_GRAD):
        found = run(model, mode)
        assert found["status"] == "unsupported"
        assert found["reason"].startswith(
            f"a call returns a {kind}, which computes only when it is read"
        )
        assert "a tuple or a list" in found["remedy"]


def test_what_a_user_of_a_right_mode_stumbles_over_is_told(run: Run):
    writes = run("Clamps", "writes_into_its_inputs")
    assert writes["status"] == "ok", writes["reason"]
    assert any(w.startswith("the mode writes into its inputs") for w in writes["warnings"])
    told = "the mode returns torch.float64 where eager returns torch.float32"
    assert told in run("Plain", "doubles")["warnings"]
    assert told not in run("Plain", "honest")["warnings"]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [("ReturnsSparse", "rows"), ("TakesSparse", "with_coo"), ("TakesSparse", "with_csr")],
)
def test_sparse_tensors_are_compared(run: Run, model: str, inputs: str):
    found = run(model, "honest", inputs=inputs)
    assert found["status"] == "ok", found["reason"]
    assert run(model, "right_for_a_while", inputs=inputs)["status"] == "wrong"


@pytest.mark.parametrize("model", ["ReturnsNested", "ReturnsJagged"])
def test_nested_outputs_are_refused(run: Run, model: str):
    found = run(model)
    assert found["status"] == "unsupported"
    assert found["reason"].startswith("the model returns a nested tensor")
    assert "to_padded_tensor" in found["remedy"]


def test_integers_that_differ_are_told_as_integers(run: Run):
    found = run("Sorts", "swaps_two")
    assert found["reason"] == "output: 12 % of the integers differ, above 0.01 %"
    assert found["numerics"]["relative_l2"] is None
    assert found["numerics"]["differing"] == 0.125


def test_inputs_that_do_not_depend_on_the_seed_are_rearranged(run: Run):
    aa = run("Plain", inputs="fixed")
    assert (aa["numerics"]["input_sets"], aa["numerics"]["inputs"]) == (5, "rearranged")
    assert any("the same under every seed" in warning for warning in aa["warnings"])
    assert run("Plain", "remembers_tensors", inputs="fixed")["status"] == "wrong"


@pytest.mark.parametrize("mode", ["eager", NO_GRAD], ids=["eager", "no_grad"])
def test_inputs_that_no_seed_brings_back_are_told_and_not_the_model(run: Run, mode: Any):
    found = run("Plain", mode, inputs="never_the_same")
    assert found["status"] == "unsupported"
    assert found["reason"].startswith("its inputs are others each time, even under one seed")
    assert "seeds itself" in found["remedy"]


def test_a_model_may_refuse_rearranged_inputs(run: Run):
    found = run("Picky", inputs="picky")
    assert (found["status"], found["numerics"]["input_sets"]) == ("ok", 2)


def test_inputs_of_other_shapes_leave_the_example_alone(run: Run):
    aa = run("Plain", inputs="ragged")
    assert (aa["status"], aa["numerics"]["inputs"]) == ("ok", "example")
    assert aa["numerics"]["input_sets"] == 2  # before sampling and after it
    assert any("other shapes or structures under another seed" in w for w in aa["warnings"])
    assert run("Plain", "right_for_a_while", inputs="ragged")["status"] == "wrong"


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        ("one_thread", "threads 2 → 1"),
        ("other_dtype", "default dtype torch.float32 → torch.float64"),
        ("deterministic", "deterministic algorithms False → True"),
        ("hooks_every_module", "global forward hooks 0 → 1"),
        ("hooks_every_gradient", "global backward pre hooks 0 → 1"),
        ("hooks_every_parameter", "global parameter registration hooks 0 → 1"),
        ("patches_linear", "torch.nn.functional.linear replaced"),
        ("patches_while_called", "fast path of nn.MultiheadAttention True → False"),
        ("flushes_denormals", "flushing of denormal numbers False → True"),
        ("lowers_matrix_products", "precision of fp32 in mkldnn, matmul ieee → bf16"),
        ("stretches_time", "time.perf_counter_ns replaced"),
        ("replaces_a_layer", "torch.nn.Linear replaced"),
        ("patches_later", "fast path of nn.MultiheadAttention True → False"),
    ],
)
def test_a_mode_that_changes_the_process_has_failed(run: Run, mode: str, change: str):
    found = run("Plain", mode)
    assert found["status"] == "failed"
    assert found["reason"] == f"the mode changed the process that eager runs in: {change}"
    assert found["remedy"].startswith("restore in the process what the mode")


def test_a_model_that_changes_the_process_is_told_from_a_mode(run: Run):
    found = run("LeavesOneThread")
    assert found["reason"] == "the model changed the process that eager runs in: threads 2 → 1"
    assert "its factory and its forward" in found["remedy"]
    of_mode = run("LeavesOneThread", NO_GRAD)
    assert of_mode["remedy"].endswith("failed for the same reason, mend the model")


def test_a_model_that_was_built_in_half_precision_is_no_baseline_in_fp32(run: Run):
    code = "import torch\ndef build(): return torch.nn.Linear(16, 2).bfloat16()\n"
    code += "def half(batch_size): return torch.randn(batch_size, 16).bfloat16()\n"
    assert any(
        "parameters in bf16" in told
        for told in run("build", "eager", "half", code=code)["warnings"]
    )
    assert not any("parameters in" in told for told in run("Plain")["warnings"])


@pytest.fixture
def beside(tmp_path: Path, monkeypatch) -> Any:
    """A file beside the user's, which is imported once and so the same for both sides."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside.py").write_text(MODELS + "\nNET = Plain()\n")
    yield
    sys.modules.pop("beside")


def test_a_mode_that_patches_a_class_that_eager_has_too_has_failed(run: Run, beside: Any):
    found = run("build", "patches_its_class", code="import beside\nbuild = beside.Plain\n")
    assert found["status"] == "failed"
    assert found["reason"].endswith("the process that eager runs in: Plain.forward replaced")
    assert run("Plain", "patches_its_class")["reason"].startswith("output: "), "of its own class"


@pytest.mark.parametrize("mode", ["eager", "honest"])
def test_two_sides_that_are_one_model_are_not_compared(run: Run, beside: Any, mode: str):
    found = run("build", mode, code="import beside\ndef build(): return beside.NET\n")
    assert found["status"] == "failed"
    assert found["reason"].endswith("the model's factory returned what it had returned before")
    assert "copy.deepcopy" in found["remedy"]


def test_a_rate_beyond_what_the_machine_can_do_gets_no_verdict(run: Run, monkeypatch):
    honest = run("Plain", NO_GRAD)
    assert "impossible" not in (honest["no_verdict"] or "")
    monkeypatch.setattr("torchmodes.measure.case.quick_peak", lambda *_: 1e3)
    found = run("Plain", NO_GRAD)
    assert found["verdict"] == "unresolved"
    assert found["no_verdict"].startswith("impossible: it seems to do ")
    assert "leaves out" in found["remedy"]


@pytest.mark.parametrize("mode", ["remembers_values", "remembers_until_written", "honest"])
def test_a_mode_that_is_fast_on_inputs_it_has_seen_gets_no_verdict(
    run: Run, monkeypatch, mode: str
):
    # However much else runs here.
    monkeypatch.setattr("torchmodes.measure.assess.doubt_samples", lambda *_, **__: None)
    monkeypatch.setattr("torchmodes.measure.statistics.verdict", lambda *_, **__: "faster")
    monkeypatch.setattr("torchmodes.measure.case.quick_peak", lambda *_: None)
    found = run("Deep", mode, budget_s=0.5)
    assert found["status"] == "ok", found["reason"]
    remembers = mode != "honest"
    assert (found["no_verdict"] or "").startswith("it remembers: inputs that are new") is remembers
    if remembers:
        assert found["statistics"]["speed_up"]["estimate"] > 3
        assert found["verdict"] == "unresolved"
        assert found["remedy"].startswith("time it on new inputs")


def test_a_training_step_that_stops_learning_is_wrong_after_sampling():
    rows = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    job = make_job("training/cpu/house_price/other/fp32-b8", learning_rate=0.01)

    def warm(working_steps: int) -> WarmedUp:
        workload = training_workload(job, [(rows[:, :5], rows[:, 5:])])
        calls = itertools.count(1)

        def step() -> torch.Tensor:
            return workload.call() if next(calls) <= working_steps else torch.tensor(1.0)

        with workload.context():
            losses = losses_of(workload, LOSSES_COMPARED)
        return WarmedUp(dataclasses.replace(workload, call=step), losses, 0.0)

    first = compare_first(job, warm(100), warm(100))
    assert first.within_tolerance
    assert compare_again(job, warm(100), warm(100), first, {}).within_tolerance
    found = compare_again(job, warm(100), warm(5), first, {})
    assert not found.within_tolerance
    assert found.reason.startswith("after sampling: losses: relative L2 error")
