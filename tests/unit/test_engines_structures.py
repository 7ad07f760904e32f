"""Nested inputs and outputs, of every element type: an engine returns what the model returns."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from engine_cases import mode
from job_factory import make_job
from torch import nn
from torch.testing import assert_close
from torch.utils import _pytree

from torchmodes.measure.case import measure
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes.base import Refused
from torchmodes.workloads.structures import Inputs, copy_output
from torchmodes.workloads.workload import carry_out

Pair = namedtuple("Pair", "sum product")


@dataclass
class Output:
    """A dataclass that nobody registered with PyTorch."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None
    hidden: tuple[torch.Tensor, ...] = ()


@dataclass(frozen=True)
class Scaled:
    """A dataclass as an input."""

    x: torch.Tensor
    by: float


class Calls(nn.Module):
    """Calls a function, so that a case is one line; a weight, for engines want one."""

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(self.weight, *args, **kwargs)


x, y, z = torch.linspace(-1, 1, 8).reshape(2, 4), torch.ones(2, 4) * 0.3, torch.full((2, 4), 0.7)
CASES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "bool": (lambda w, x, keep: (x * w).masked_fill(~keep, 0.0), (x, x > 0), {}),
    "bool out": (lambda w, x: {"over": x * w > 0.5, "x": x * w}, (x,), {}),
    "list": (lambda w, parts: parts[0] * w - parts[1], ([x, y],), {}),
    "tuple in a dict": (
        lambda w, a, b: a["p"][0] * w - a["p"][1] + b["q"], ({"p": (x, y)}, {"q": z}), {},
    ),
    "keywords": (
        lambda w, *, left, right: left["a"] * w - right[0], (), {"right": [x], "left": {"a": y}},
    ),
    "both": (lambda w, x, *, more: x * w - more["y"], (x,), {"more": {"y": y}}),
    "numbers and none": (
        lambda w, x, k, flag, none=None: x * w * (k + flag), (x, 3, False), {"none": None},
    ),
    "dataclass": (lambda w, given: given.x * w * given.by, (Scaled(x, 0.5),), {}),
    "none out": (
        lambda w, x: {"logits": x * w, "loss": None, "n": x.shape[1], "t": 0.7}, (x,), {},
    ),
    "text out": (lambda w, x: (x * w, "mean", True), (x,), {}),
    "nested out": (lambda w, x: {"a": (x * w, x), "b": [x - w, {"c": x + w}]}, (x,), {}),
    "dataclass out": (lambda w, x: Output(x * w, None, (x + w, x > 0)), (x,), {}),
    "named tuple": (lambda w, x: Pair(x + w, x * w), (x,), {}),
    "the same twice": (lambda w, x: [x * w, *[x + w] * 2, x], (x,), {}),
    "scalar": (lambda w, x, s: (x * w * s).sum(), (x, torch.tensor(3.0)), {}),
    "no rows": (lambda w, x, none: torch.cat([x * w, none]), (x, torch.zeros(0, 4)), {}),
    "complex": (lambda w, c: c * 2, (torch.complex(x, y),), {}),
    "int8, uint8, int16": (
        lambda w, a, b, c: (a.float() * w + b.float() + c.float(), a + 1),
        (torch.tensor([1, -2], dtype=torch.int8), torch.tensor([200, 3], dtype=torch.uint8),
         torch.tensor([300, -4], dtype=torch.int16)),
        {},
    ),
    "uint16": (lambda w, a: (a.float() * w, a), (torch.tensor([65000, 2]).to(torch.uint16),), {}),
    "int32, int64": (lambda w, a, b: a + b, (torch.tensor([1]).int(), torch.tensor([7])), {}),
    "fp16, bf16": (lambda w, a, b: a.float() * w - b.float(), (x.half(), y.bfloat16()), {}),
    "fp64": (lambda w, a: a * 2, (x.double(),), {}),
}  # fmt: skip
ENGINES = {
    "onnxruntime": mode("onnxruntime"),
    "trace": mode("torchscript", method="trace"),
    "export": mode("export"),
    "openvino": mode("openvino"),
}


def prepared(engine, name):
    """Return a case's call in an engine, its inputs, and what the model returns for them."""
    function, args, kwargs = CASES[name]
    inputs = Inputs(args, kwargs)
    module = Calls(function).eval()
    engine.refuse_inputs(inputs)
    with torch.no_grad():
        expected = inputs.call(module)
        return engine.prepare(module, inputs), inputs, expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_model_takes_and_returns_an_engine_takes_and_returns(engine, name):
    knows_fewer_types = engine == "openvino"
    engine = create_engine(ENGINES[engine])
    try:
        call, inputs, expected = prepared(engine, name)
    except Refused:
        if not knows_fewer_types:
            raise
        pytest.skip("OpenVINO has no such type")
    with engine.context():
        inputs.call(call)
        found = inputs.call(call)
    copy_output(expected)  # learns the dataclass, as a case's process does
    assert _pytree.tree_structure(found) == _pytree.tree_structure(expected)
    for one, other in zip(_pytree.tree_leaves(found), _pytree.tree_leaves(expected), strict=True):
        if isinstance(other, torch.Tensor):
            assert_close(one, other)
        else:
            assert one == other


class Optional(nn.Module):
    """What most models of text take: a mask that may be there, and numbers with a default."""

    def forward(self, x, mask=None, *, negate=False, by: float | None = None):
        if mask is not None:
            x = x * mask
        if negate:
            x = -x
        return x * (2.0 if by is None else by)


@pytest.mark.parametrize(
    "inputs",
    [
        Inputs((x,)),
        Inputs((x, None)),
        Inputs((x, y)),
        Inputs((x,), {"mask": None, "negate": True, "by": 3.0}),
        Inputs(kwargs={"x": x, "mask": y, "by": z}),
    ],
    ids=["defaults", "none", "mask", "constants", "tensors"],
)
def test_fx_takes_the_branch_that_a_none_or_a_default_takes(inputs):
    module = Optional()
    call = create_engine(mode("fx")).prepare(module, inputs)
    assert_close(inputs.call(call), inputs.call(module))
    assert not [n for n in call.graph.nodes if "assert" in str(n.target)], "eager checks nothing"


class Masked(nn.Module):
    def forward(self, x, mask=None):
        return x if mask is None else x * mask


def test_none_in_the_place_of_a_tensor_is_refused_before_it_is_scripted_code():
    engine = create_engine(mode("torchscript", method="script"))
    for inputs in (Inputs((x, None)), Inputs(kwargs={"x": x, "mask": None})):
        with pytest.raises(Refused, match="the input 'mask' is None, and to TorchScript it is"):
            engine.prepare(Masked(), inputs)
    assert_close(engine.prepare(Masked(), Inputs((x, y)))(x, y), x * y)


def test_passes_of_torchscript_run_on_what_was_flattened():
    engine = create_engine(mode("torchscript", method="trace", freeze=True))
    call, inputs, expected = prepared(engine, "none out")
    with engine.context():
        assert_close(inputs.call(call)["logits"], expected["logits"])


def test_a_trace_of_tensors_keeps_the_interface_of_the_model():
    engine = create_engine(ENGINES["trace"])
    call, _, _ = prepared(engine, "bool out")
    assert call is engine.scripted, "nothing comes between"
    assert call(x).keys() == {"over", "x"}


def test_the_tensors_of_a_call_are_those_of_that_call():
    engine = create_engine(ENGINES["onnxruntime"])
    call, _, _ = prepared(engine, "keywords")
    other = {"left": {"a": z}, "right": [y]}  # in another order, too
    assert_close(call(**other), (z * 2 - y).detach())


def test_outputs_of_two_calls_do_not_share_memory():
    call, _, expected = prepared(create_engine(ENGINES["onnxruntime"]), "bool")
    first = call(x, x > 0)
    call(x + 1, x > 5)
    assert_close(first, expected.detach())


def test_numbers_that_a_complex_view_conjugates_reach_onnxruntime_conjugated():
    call, inputs, _ = prepared(create_engine(ENGINES["onnxruntime"]), "complex")
    (given,) = inputs.args
    assert_close(call(given.conj()), given.conj().resolve_conj() * 2)


def test_a_copied_output_keeps_its_dataclass_and_shares_no_memory():
    output = Output(torch.ones(2), None, (torch.ones(1),))
    copied = copy_output(output)
    output.logits.zero_()
    output.hidden[0].zero_()
    assert isinstance(copied, Output)
    assert (copied.logits.sum(), copied.hidden[0].sum()) == (2, 1)


@pytest.mark.parametrize("engine", ["onnxruntime", "trace", "aotinductor"])
def test_a_model_that_returns_no_tensor_is_told(engine):
    engine = create_engine(ENGINES.get(engine) or mode(engine))
    with pytest.raises(ValueError, match="the model returns no tensor but str:"), torch.no_grad():
        engine.prepare(Calls(lambda w, x: "done").eval(), Inputs((x,)))


# --- What an engine does not take -------------------------------------------------------------


def job(tmp_path, options, *, body, inputs):
    """Return a job of a model in a file of its own."""
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\n"
        "class Model(torch.nn.Module):\n"
        f"    def forward(self, x, given): return {body}\n"
        "def build(): return Model()\n"
        f"def inputs(batch): return torch.randn(batch, 4), {inputs}\n"
    )
    model = {
        "family": "user", "factory": f"{file}:build", "inputs": f"{file}:inputs", "options": {},
        "item": "item",
    }  # fmt: skip
    return make_job("inference/cpu/mine/m/fp32-b4", mode=options, model=model)


REFUSED = [
    (
        mode("onnxruntime"),
        "x + given.dequantize()",
        "torch.quantize_per_tensor(torch.ones(batch, 4), 0.1, 0, torch.qint8)",
        "the engine onnxruntime does not take tensors of torch.qint8",
    ),
    (
        mode("onnxruntime"),
        "x + given.to_dense()",
        "torch.eye(batch, 4).to_sparse()",
        "the engine onnxruntime does not take tensors of torch.sparse_coo",
    ),
    (
        mode("onnxruntime"),
        "(x + given).to(torch.float8_e5m2)",
        "torch.ones(batch, 4)",
        "the engine onnxruntime does not return tensors of torch.float8_e5m2",
    ),
    (
        mode("torchscript", method="trace"),
        "x + given.to_dense()",
        "torch.eye(batch, 4).to_sparse()",
        "the engine torchscript does not trace tensors of torch.sparse_coo",
    ),
]


@pytest.mark.parametrize(("options", "body", "inputs", "reason"), REFUSED)
def test_types_that_an_engine_does_not_know_are_unsupported(
    tmp_path, options, body, inputs, reason
):
    assert carry_out(measure, job(tmp_path, options, body=body, inputs=inputs)) == {
        "status": "unsupported",
        "reason": reason,
        "remedy": "convert them in the model, or use another mode",
    }


def test_eight_bit_floats_go_into_onnxruntime(tmp_path):
    given = "torch.ones(batch, 4).to(torch.float8_e4m3fn)"
    parts = carry_out(
        measure,
        job(tmp_path, mode("onnxruntime"), body="x + given.float()", inputs=given),
    )
    assert (parts["status"], parts["numerics"]["within_tolerance"]) == ("ok", True)


class Decides(nn.Module):
    """A detector in small: how much it returns depends on values."""

    def forward(self, x):
        found = x[x > 0]
        return found * 2 if found.sum() > 3 else found


@pytest.mark.parametrize("engine", ["export", "onnxruntime"])
def test_a_model_that_decides_by_values_is_refused_by_what_needs_one_graph(engine):
    with pytest.raises(Refused) as refused:
        create_engine(mode(engine)).prepare(Decides(), Inputs.of(torch.ones(8)))
    assert "the model decides by values: Could not guard" in refused.value.unsupported.reason
    assert "torch.compile" in refused.value.unsupported.remedy


class FindsInEachClass(nn.Module):
    """A detector in small, whose number of results is a sum of many that values decide."""

    def forward(self, x):
        found = torch.cat([x[x > bound] for bound in range(40)])
        return found * 2 if found.numel() > 100 else found


def test_a_refusal_tells_of_a_long_sum_its_beginning():
    with pytest.raises(Refused) as refused:
        create_engine(mode("export")).prepare(FindsInEachClass(), Inputs.of(torch.ones(8)))
    reason = refused.value.unsupported.reason
    assert reason.endswith(" + …")
    assert len(reason) < 200


class HoldsAScript(nn.Module):
    """A part that TorchScript compiled already."""

    def __init__(self):
        super().__init__()
        self.part = torch.jit.script(nn.Linear(4, 4))

    def forward(self, x):
        return self.part(x)


@pytest.mark.parametrize("engine", ["export", "onnxruntime", "openvino"])
def test_a_scripted_part_is_refused_by_what_needs_one_graph(engine):
    with pytest.raises(Refused) as refused:
        create_engine(mode(engine)).prepare(HoldsAScript().eval(), Inputs.of(x))
    reason = refused.value.unsupported.reason
    assert reason.startswith("torch.export cannot take what torch.jit.script compiled: ")
    assert "part (" in reason


def test_openvino_puts_an_output_together_whose_code_dynamo_alone_could_read():
    model = Calls(lambda w, x: {"x": x * w, "n": int((x > 0).sum())}).eval()
    with torch.no_grad():
        call, expected = create_engine(mode("openvino")).prepare(model, Inputs.of(x)), model(x)
    found = call(x)
    assert_close(found["x"], expected["x"])
    assert found["n"] == expected["n"], "the example's, which other inputs will show"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (mode("export"), "torch.export cannot take what torch.jit.script compiled: the model"),
        (mode("torchscript", method="trace"), "the model is TorchScript: nothing is to trace"),
        (mode("fx"), "the model is TorchScript: torch.fx reads Python's code"),
    ],
)
def test_a_model_that_is_torchscript_is_refused_by_what_would_capture_it(options, told):
    with pytest.raises(Refused, match=told):
        create_engine(options).prepare(torch.jit.script(nn.Linear(4, 4)), Inputs.of(x))
