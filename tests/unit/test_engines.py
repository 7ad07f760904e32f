"""Engines of inference: they compute what eager does, tell what they did and what they cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import MODELS, attention, convolutions, mode
from torch import nn

from torchmodes.measure.numerics import compare
from torchmodes.planning.cases import parse_case
from torchmodes.workloads.modes import base, create_engine

CASE = parse_case("inference/cpu/mine/a-mode/fp32-b2")


MODES = {
    "eager": (mode("eager"), "fp32"),
    "eager no_grad": (mode("eager", context="no_grad"), "fp32"),
    "eager grad": (mode("eager", context="grad"), "fp32"),
    "eager channels_last": (mode("eager", channels_last=True), "fp32"),
    "eager autocast": (mode("eager", autocast=True), "bf16"),
    "trace": (mode("torchscript", method="trace"), "fp32"),
    "trace frozen": (mode("torchscript", method="trace", freeze=True), "fp32"),
    "trace optimized": (
        mode("torchscript", method="trace", optimize_for_inference=True),
        "fp32",
    ),
    "fx fused": (mode("fx", passes=["fuse-conv-bn"]), "fp32"),
    "export, then compile": (mode("compile", backend="aot_eager", after="export"), "fp32"),
    "trace, then compile": (mode("compile", backend="aot_eager", after="trace"), "fp32"),
    "fallback": (mode("compile", backend="indctor", fallback=["aot_eager"]), "fp32"),
    "export": (mode("export"), "fp32"),
    "export strict": (mode("export", strict=True), "fp32"),
    "onnxruntime": (mode("onnxruntime"), "fp32"),
    "openvino": (mode("openvino"), "fp32"),
    "int8 dynamic": (mode("quantize"), "int8"),
    "int8 dynamic, torchao": (mode("quantize", library="torchao"), "int8"),
    "int8 weights": (mode("quantize", library="torchao", method="weight-only"), "int8"),
}
"""Modes that prepare in a second or two, with the precision to ask them for."""


@dataclasses.dataclass
class Prepared:
    """An engine after two calls, and the output of the second."""

    engine: Any
    output: Any
    expected: Any


def run(options, example, *, precision="fp32", calls=2) -> Prepared:
    """Do what a case's process does: prepare without gradients, call in the engine's context."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    engine = create_engine(options, precision=precision)
    with torch.no_grad():
        call = engine.prepare(example.module, example.inputs)
    output = None
    with engine.context():
        for _ in range(calls):
            output = example.inputs.call(call)
    return Prepared(engine, output, example.expected)


@pytest.fixture(scope="module")
def prepared():
    """Return a function that prepares a mode on a model, once for all tests."""
    made: dict[tuple[str, str], Prepared] = {}

    def prepare(name: str, model: str) -> Prepared:
        if (name, model) not in made:
            options, precision = MODES[name]
            made[name, model] = run(options, MODELS[model](), precision=precision)
        return made[name, model]

    return prepare


# --- The same results as eager ---------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", MODES)
def test_an_engine_computes_what_eager_computes(prepared, name, model):
    made = prepared(name, model)
    found = compare(made.expected, made.output, precision=MODES[name][1])
    assert found.within_tolerance, found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", MODES)
def test_what_works_is_not_refused(name, model):
    options, precision = MODES[name]
    case = dataclasses.replace(CASE, precision=precision)
    assert create_engine(options, precision=precision).supports(case, family="user") is None


# --- Contexts, formats ------------------------------------------------------------------------


def test_eager_runs_in_the_context_it_is_asked_for(prepared):
    assert prepared("eager", "convolutions").output.is_inference()
    for name in ("eager no_grad", "eager grad"):
        output = prepared(name, "convolutions").output
        assert not output.is_inference()
        assert output.requires_grad == (name == "eager grad")


def test_autocast_lowers_the_output_and_keeps_the_weights(prepared):
    made = prepared("eager autocast", "convolutions")
    assert made.output.dtype == torch.bfloat16
    assert made.engine.lowers_precision


def test_channels_last_reaches_weights_and_images_or_has_no_effect(prepared):
    facts = prepared("eager channels_last", "convolutions").engine.stats()
    assert facts == {"channels_last_tensors": 2}
    facts = prepared("eager channels_last", "attention").engine.stats()
    assert facts["channels_last_tensors"] == 0
    assert "no weight or input has four dimensions" in facts["no_effect"]


# --- What they tell ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trace frozen", "trace optimized"])
def test_passes_of_torchscript_change_the_graph(prepared, name):
    facts = prepared(name, "convolutions").engine.stats()
    assert facts["graph_nodes"] != facts["graph_nodes_before"]
    assert "no_effect" not in facts


def test_a_fused_batch_norm_is_gone_and_where_there_is_none_that_is_told(prepared):
    facts = prepared("fx fused", "convolutions").engine.stats()
    assert facts == {"nodes_traced": 8, "nodes": 7}
    facts = prepared("fx fused", "attention").engine.stats()
    assert facts["passes_without_effect"] == ["fuse-conv-bn"]
    assert facts["no_effect"] == "fuse-conv-bn changed neither a node nor a module"


def test_the_example_of_a_users_own_pass_drops_what_does_nothing():
    own = f"{Path(__file__).parents[2]}/examples/drop_dropout.py:drop_dropout"
    made = run(mode("fx", passes=[own, "fuse-conv-bn"]), convolutions())
    assert compare(made.expected, made.output, precision="fp32").within_tolerance
    assert made.engine.stats() == {"nodes_traced": 8, "nodes": 6}
    idle = run(mode("fx", passes=[own]), attention()).engine.stats()
    assert "changed neither a node nor a module" in idle["no_effect"]


def test_trace_then_compile_is_told_to_be_the_no_op_it_is():
    made = run(MODES["trace, then compile"][0], convolutions())
    assert made.engine.stats()["no_effect"] == ("torch.compile captured no graph: eager code ran")


def test_export_then_compile_captures_one_graph():
    made = run(MODES["export, then compile"][0], convolutions())
    assert made.engine.stats()["graphs"] == 1
    assert "no_effect" not in made.engine.stats()


def test_quantisation_tells_how_much_of_the_model_it_reached(prepared):
    facts = prepared("int8 dynamic", "convolutions").engine.stats()
    assert facts["linear_layers"] == 1
    assert facts["share_of_weights"] == pytest.approx(8 * 4 / (3 * 8 * 9 + 2 * 8 + 8 * 4 + 4))
    nothing_linear = dataclasses.replace(convolutions(), module=nn.ReLU())
    facts = run(mode("quantize"), nothing_linear, precision="int8").engine.stats()
    assert facts["no_effect"] == "the model has no torch.nn.Linear: nothing was quantised"


def test_onnxruntime_tells_operator_set_sizes_threads_and_who_computes(prepared):
    engine = prepared("onnxruntime", "attention").engine
    facts = engine.stats()
    assert facts["opset"] >= 18
    assert facts["intra_op_threads"] == torch.get_num_threads()
    assert facts["provider"] == "CPUExecutionProvider"
    assert facts["nodes"]["CPUExecutionProvider"] > 10
    assert facts["file_bytes"].keys() == {"model.onnx", "model.onnx.data"}
    weights = sum(4 * p.numel() for p in attention().module.parameters())
    assert sum(facts["file_bytes"].values()) > weights  # small ones lie in model.onnx itself


def test_onnxruntime_exports_the_operator_set_it_is_asked_for():
    assert run(mode("onnxruntime", opset=18), convolutions(), calls=1).engine.stats()["opset"] == 18


# --- The fallback chain -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken_backend():
    """Register a backend that always fails; PyTorch has no way to take it back."""

    def torchmodes_broken(graph, inputs):
        raise NotImplementedError("no kernel for this\nand more about it")

    torch._dynamo.register_backend(torchmodes_broken)
    return "torchmodes_broken"


def test_a_fallback_chain_tells_where_it_ended_and_why(broken_backend):
    chain = mode("compile", backend="openvin0", fallback=[broken_backend, "aot_eager", "eager"])
    made = run(chain, convolutions())
    facts = made.engine.stats()
    assert facts["ended_on"] == "aot_eager"
    assert facts["fallback"] == [
        {"backend": "openvin0", "failed": "torch.compile has no backend 'openvin0' here"},
        {"backend": broken_backend, "failed": "NotImplementedError: no kernel for this"},
        {"backend": "aot_eager", "failed": None},
    ]
    assert facts["graphs"] == 1, "what failed is not counted"
    assert "no_effect" not in facts


def test_a_fallback_chain_that_ends_on_eager_did_nothing(broken_backend):
    facts = run(mode("compile", backend=broken_backend, fallback=["eager"]), convolutions())
    assert facts.engine.stats()["no_effect"] == (
        "the fallback chain ended on eager: its kernels are eager's"
    )


def test_a_fallback_chain_that_ends_nowhere_says_why_every_step_failed(broken_backend):
    with pytest.raises(RuntimeError, match=r"openvin0: .* no backend .*; .*: no kernel for this"):
        run(mode("compile", backend="openvin0", fallback=[broken_backend]), convolutions())


# --- Inductor, once ---------------------------------------------------------------------------


@torch._inductor.config.patch(freezing=False)  # restored afterwards
def test_freezing_makes_constants_of_the_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    example = convolutions()
    made = run(mode("compile", freezing=True), example, calls=1)
    assert compare(made.expected, made.output, precision="fp32").within_tolerance
    assert made.engine.stats()["graphs"] == 1
    with torch.no_grad():
        example.module.features[0].weight.zero_()
    with made.engine.context():
        again = made.engine.compiled(*example.inputs.args)
    assert torch.equal(again, made.output), "the compiled code has weights of its own"


# --- What they refuse -------------------------------------------------------------------------


REFUSED = [
    (
        mode("torchscript", method="script"),
        {"family": "transformers"},
        "torch.jit.script fails on transformers models: “Failed to get source”",
        "use method: trace, or torch.export (engine export)",
    ),
    (
        mode("fx"),
        {"family": "transformers"},
        "torch.fx.symbolic_trace fails on transformers models: their code looks at values",
        "use torch.export (engine export), or torchscript with method: trace",
    ),
    (
        mode("fx", passes=["fuse-conv-bn"]),
        {"task": "training"},
        "fuse-conv-bn is for inference: it fixes the statistics of batch norms",
        "train in a mode without that pass",
    ),
    (
        mode("eager", context="no_grad"),
        {"task": "training"},
        "context: no_grad is for inference; a training step always records gradients",
        "train in a mode that does not set `context`",
    ),
    (
        mode("eager", autocast=True),
        {},
        "autocast computes in a half precision, not in fp32",
        "ask for the precision bf16 or fp16",
    ),
    (
        mode("torchscript", freeze=True),
        {"task": "training"},
        "freeze is for inference",
        "train in a mode that does not set freeze",
    ),
    (
        mode("compile", after="export"),
        {"task": "training"},
        "after is for inference",
        "train in a mode that does not set after",
    ),
    (
        mode("compile", backend="aot_eager", freezing=True),
        {},
        "freezing belongs to the backend inductor, not aot_eager",
        "use freezing: false",
    ),
    (
        mode("compile", backend="cudagraphs"),
        {},
        "CUDA graphs do not exist on cpu: PyTorch skips them silently",
        "run the case on cuda, or use backend: inductor with mode: default",
    ),
    (
        mode("compile", backend="tensorrt"),
        {},
        "torch.compile has no backend 'tensorrt' here",
        "use the engine tensorrt with frontend: torch_compile",
    ),
    (
        mode("compile", backend="tvm"),
        {},
        "torch.compile has no backend 'tvm' here",
        "pip install apache-tvm",
    ),
    (
        mode("onnxruntime", provider="cuda"),
        {},
        "provider: cuda does not run on cpu",
        "use provider: auto",
    ),
    (
        mode("onnxruntime"),
        {"device": "cuda"},
        "the installed onnxruntime has no CUDAExecutionProvider",
        "pip uninstall onnxruntime; pip install onnxruntime-gpu",
    ),
    (
        mode("onnxruntime", provider="tensorrt"),
        {"device": "cuda"},
        "the installed onnxruntime has no TensorrtExecutionProvider",
        "pip uninstall onnxruntime; pip install onnxruntime-gpu 'tensorrt-cu13<11'",
    ),
    (
        mode("onnxruntime"),
        {"device": "mps"},
        "ONNX Runtime has no provider for MPS",
        "run the case on cpu or cuda",
    ),
    (
        mode("onnxruntime"),
        {"precision": "bf16"},
        "ONNX Runtime's CPU provider has no bf16 kernels for most operators",
        "use fp32, or run the case on cuda",
    ),
    (
        mode("openvino"),
        {"device": "cuda"},
        "the engine openvino runs on the CPU, not on cuda",
        "run the case on cpu",
    ),
    (
        mode("quantize"),
        {"device": "cuda"},
        "torch.ao.quantization has int8 kernels for the CPU, none for cuda",
        "use library: torchao",
    ),
]


@pytest.mark.parametrize(
    ("options", "changed", "reason", "remedy"),
    REFUSED,
    ids=[f"{options['engine']}: {reason[:40]}" for options, _, reason, _ in REFUSED],
)
def test_what_cannot_be_is_refused_with_reason_and_remedy(options, changed, reason, remedy):
    changed = dict(changed)
    family = changed.pop("family", "user")
    refused = create_engine(options).supports(dataclasses.replace(CASE, **changed), family=family)
    assert refused is not None
    assert (refused.reason, refused.remedy) == (reason, remedy)


def test_openvino_computes_fp32_with_the_threads_of_the_case(prepared):
    facts = prepared("openvino", "attention").engine.stats()
    assert facts["threads"] == torch.get_num_threads()
    assert facts["executed"] == {"fp32 matrix product": 4}


def test_openvino_is_refused_where_it_is_not_installed(monkeypatch):
    there = base.find_spec
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "openvino" else there(name))
    refused = create_engine(mode("openvino")).supports(CASE, family="user")
    assert (refused.reason, refused.remedy) == (
        "openvino is not installed",
        "pip install openvino",
    )


def test_a_chain_is_refused_only_where_all_of_it_is():
    chain = mode("compile", backend="cudagraphs", fallback=["aot_eager"])
    assert create_engine(chain).supports(CASE, family="user") is None
    chain = mode("compile", backend="cudagraphs", fallback=["tvm"])
    assert "CUDA graphs" in create_engine(chain).supports(CASE, family="user").reason
