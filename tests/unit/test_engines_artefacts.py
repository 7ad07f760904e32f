"""Artefacts: what a mode ships runs in a process that knows neither the model nor torchmodes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from engine_cases import attention, convolutions, mode
from job_factory import make_job
from torch.testing import assert_close

from torchmodes.measure.case import measure
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.workload import carry_out

LOADING = """
import importlib.util, json, sys
import torch
assert importlib.util.find_spec("torchmodes") is None
assert importlib.util.find_spec("engine_cases") is None
for case in json.load(open(sys.argv[1])):
    path = case["files"][0]
    inputs = torch.load(case["inputs"])
    if case["how"] == "torch.jit":
        module = torch.jit.load(path)
        if case["name"] == "optimized":
            module = torch.jit.optimize_for_inference(module)
        output = module(*inputs["args"], **inputs["kwargs"])
    elif case["how"] == "torch.export":
        output = torch.export.load(path).module()(*inputs["args"], **inputs["kwargs"])
    elif case["how"] == "aoti":
        output = torch._inductor.aoti_load_package(path)(*inputs["args"], **inputs["kwargs"])
    else:
        import onnxruntime
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        tensors = [*inputs["args"], *inputs["kwargs"].values()]
        names = [given.name for given in session.get_inputs()]
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        found = session.run(None, feed)
        output = {str(i): torch.from_numpy(value) for i, value in enumerate(found)}
    torch.save(torch.utils._pytree.tree_leaves(output), case["output"])
"""
SHIPPED = {
    "traced": ("torch.jit", mode("torchscript", method="trace"), attention),
    "frozen": ("torch.jit", mode("torchscript", method="trace", freeze=True), convolutions),
    "optimized": (
        "torch.jit",
        mode("torchscript", method="script", optimize_for_inference=True),
        convolutions,
    ),
    "frozen and optimized": (
        "torch.jit",
        mode("torchscript", method="script", freeze=True, optimize_for_inference=True),
        convolutions,
    ),
    "exported": ("torch.export", mode("export"), attention),
    "compiled ahead": ("aoti", mode("aotinductor"), convolutions),
    "onnx": ("onnxruntime", mode("onnxruntime"), attention),
}
FILES = {
    "torch.jit": ["model.pt"],
    "torch.export": ["model.pt2"],
    "aoti": ["model.pt2"],
    "onnxruntime": ["model.onnx", "model.onnx.data"],
}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Prepare every mode here, load all its files in one other process, and return both outputs."""
    folder = tmp_path_factory.mktemp("shipped")
    cases, engines, expected = [], {}, {}
    for name, (how, options, model) in SHIPPED.items():
        example = model()
        engine = create_engine(options)
        with torch.no_grad():
            call = engine.prepare(example.module, example.inputs)
        with engine.context():
            found = torch.utils._pytree.tree_leaves(example.inputs.call(call))
        (folder / name).mkdir()
        inputs = folder / f"{name} in.pt"
        torch.save({"args": example.inputs.args, "kwargs": example.inputs.kwargs}, inputs)
        files = engine.ship(folder / name)
        cases.append(
            {
                "name": name,
                "how": how,
                "files": [str(path) for path in files],
                "inputs": str(inputs),
                "output": str(folder / f"{name} out.pt"),
            }
        )
        engines[name] = (engine, files)
        expected[name] = ([leaf.clone() for leaf in found], example.expected)
    (folder / "cases.json").write_text(json.dumps(cases))
    subprocess.run(
        [sys.executable, "-I", "-c", LOADING, folder / "cases.json"], cwd=folder, check=True
    )
    there = {name: torch.load(case["output"]) for name, case in zip(SHIPPED, cases, strict=True)}
    return engines, expected, there


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_predicts_the_same_without_torchmodes(predicted, name):
    engines, expected, there = predicted
    _, files = engines[name]
    assert [path.name for path in files] == FILES[SHIPPED[name][0]]
    assert len({path.parent for path in files}) == 1
    here, eager = expected[name]
    assert_close(there[name], here, rtol=1e-5, atol=1e-6)
    assert_close(here, torch.utils._pytree.tree_leaves(eager), rtol=1e-4, atol=1e-5)


def test_aotinductor_tells_what_it_compiled_and_how_fast_it_loads(predicted):
    facts = predicted[0]["compiled ahead"][0].stats()
    assert facts["operators_exported"] >= 5
    assert 0 < facts["load_s"] < facts["compile_s"]


def test_modes_that_need_the_class_ship_nothing(tmp_path):
    for options in (mode("eager"), mode("compile"), mode("quantize")):
        assert create_engine(options).ship(tmp_path) == []
    assert not [*tmp_path.iterdir()]


def test_a_record_counts_the_bytes_that_must_be_shipped():
    job = make_job(
        "inference/cpu/house_price/onnxruntime/fp32-b4",
        mode=mode("onnxruntime"),
        threads=torch.get_num_threads(),
    )
    parts = carry_out(measure, job)
    assert parts["status"] == "ok"
    assert parts["no_effect"] is None
    assert parts["cost"]["artefact_bytes"] == sum(parts["facts"]["file_bytes"].values())
    eager = carry_out(measure, replace(job, mode=mode("eager")))
    assert eager["cost"]["artefact_bytes"] is None
