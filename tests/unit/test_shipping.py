"""What the first run ships, the others load: the same call, with neither export nor calibration."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import onnx
import pytest
import torch
from engine_cases import Example, attention, mode
from job_factory import make_job
from record_factory import ENVIRONMENT, make_record
from torch import nn
from torch.testing import assert_close
from torch.utils import _pytree

from torchmodes.measure import benchmark
from torchmodes.measure.case import measure
from torchmodes.measure.load import Load
from torchmodes.planning.job import Job
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes.base import MADE
from torchmodes.workloads.structures import Inputs, Structure
from torchmodes.workloads.workload import carry_out

MODES = {
    "export": (mode("export"), "fp32"),
    "onnxruntime": (mode("onnxruntime", opset=20), "fp32"),
    "onnxruntime int8": (mode("onnxruntime"), "int8"),
    "openvino": (mode("openvino"), "fp32"),
    "openvino int8": (mode("openvino"), "int8"),
    "traced": (mode("torchscript", method="trace"), "fp32"),
    "optimized": (mode("torchscript", method="trace", optimize_for_inference=True), "fp32"),
}
OF_A_START = {"export_s", "session_s", "convert_s", "compile_s", "load_s", "from_cache"}
SAVED_ANEW = {"graph_nodes"}  # an archive of TorchScript has fewer nodes for constants
CASE = "inference/cpu/house_price/{}/fp32-b4"


class Untouched(nn.Module):
    """Stands where the model would: whatever loads does not need it."""

    def forward(self, *args, **kwargs):
        raise AssertionError("the model was called")


@dataclasses.dataclass
class Scores:
    """An output that nobody registered with PyTorch."""

    logits: torch.Tensor
    largest: torch.Tensor
    name: str


class Pair(NamedTuple):
    """Of no name under which PyTorch could write it down."""

    logits: torch.Tensor
    hidden: torch.Tensor


class Returns(nn.Module):
    """Gives its output the form that it is told."""

    def __init__(self, form):
        super().__init__()
        self.layer, self.form = nn.Linear(4, 3), form

    def forward(self, x):
        return self.form(self.layer(x))


def scores(y):
    return Scores(y, y.argmax(1) == 1, "scores")


def returning(form) -> Example:
    module, x = Returns(form).eval(), torch.randn(2, 4)
    with torch.no_grad():
        return Example(module, Inputs((x,)), module(x))


def made(folder, options, precision, example):
    """Prepare, call and ship, as a first run does; return the facts."""
    engine = create_engine(options, precision=precision)
    with torch.no_grad():
        call = engine.prepare(example.module, example.inputs)
    with engine.context():
        example.inputs.call(call)
    assert engine.ship(folder)
    return engine.stats()


def loaded(folder, options, precision, example):
    """Load and call, as the other runs do; return the output and the facts."""
    engine = create_engine(options, precision=precision)
    engine.shipped = folder
    call = engine.load_or_prepare(Untouched(), example.inputs)
    with engine.context():
        output = example.inputs.call(call)
    return output, engine.stats()


@pytest.mark.parametrize("name", MODES)
def test_what_was_shipped_is_called_without_the_model_and_told_alike(tmp_path, name):
    example = attention()
    told = made(tmp_path, *MODES[name], example)
    output, facts = loaded(tmp_path, *MODES[name], example)
    assert type(output) is type(example.expected)
    close = {"rtol": 0.2, "atol": 0.1} if "int8" in name else {"rtol": 1e-4, "atol": 1e-5}
    assert_close(output, example.expected, **close)
    passing = OF_A_START | (SAVED_ANEW if name in ("traced", "optimized") else set())
    told, now = ({key: f[key] for key in f.keys() - passing} for f in (told, facts))
    assert now == told
    assert not {"export_s", "convert_s"} & {key for key, value in facts.items() if value}


@pytest.mark.parametrize("name", ["export", "onnxruntime", "traced"])
def test_an_output_of_the_models_own_class_comes_back(tmp_path, name):
    example = returning(scores)
    made(tmp_path, *MODES[name], example)
    _pytree._deregister_pytree_node(Scores)  # as in a process that has not seen one
    output, _ = loaded(tmp_path, *MODES[name], example)
    assert_close(output.logits, example.expected.logits)
    assert (output.largest.dtype, output.name) == (torch.bool, "scores")


def test_an_output_without_a_form_in_a_file_is_prepared_again_and_told(tmp_path):
    example = returning(lambda y: Pair(y, y + 1))
    facts = made(tmp_path, *MODES["traced"], example)
    assert "other runs prepare it anew" in facts["warnings"][0]
    engine = create_engine(MODES["traced"][0])
    engine.shipped = tmp_path
    with torch.no_grad():
        output = example.inputs.call(engine.load_or_prepare(example.module, example.inputs))
    assert_close(output, example.expected)


def test_a_structure_is_the_same_after_it_was_written():
    value = ({"a": torch.ones(1), "b": [1, None, "text"]}, torch.ones(2))
    structure = dataclasses.replace(Structure.of(value), order=(1, 0), dtypes=(torch.bfloat16,) * 2)
    assert Structure.of_json(structure.to_json()) == structure
    with pytest.raises(TypeError):
        Structure.of((torch.ones(1), object())).to_json()


def shipped_by_a_first_run(folder, engine) -> Job:
    """Return the job of a later run of a case."""
    job = make_job(CASE.format(engine), mode=mode(engine), threads=torch.get_num_threads())
    parts = carry_out(measure, job, ship_to=str(folder))
    assert parts["status"] == "ok"
    assert parts["facts"]["shipped"] == str(folder)
    return Job.of(dataclasses.replace(job, shipped=folder).to_json())


def test_a_later_run_loads_and_one_whose_file_was_spoilt_is_not_ok(tmp_path):
    job = shipped_by_a_first_run(tmp_path, "onnxruntime")
    parts = carry_out(measure, job, first=False)
    assert parts["status"] == "ok"
    assert parts["facts"]["export_s"] is None
    model = onnx.load(tmp_path / "model.onnx")
    weights = model.graph.initializer[0]
    weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(model, tmp_path / "model.onnx")
    assert carry_out(measure, job, first=False)["status"] == "wrong"
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(RuntimeError, match=f"cannot be loaded .*: delete {tmp_path}"):
        carry_out(measure, job, first=False)


def test_what_was_made_on_another_processor_is_not_loaded(monkeypatch, tmp_path):
    asked = []

    def run_warm(target, job, *, log, first):
        asked.append(job.shipped)
        return {"status": "failed", "reason": "r", "remedy": "w"}, None

    first = make_record(CASE.format("onnxruntime"))
    job = dataclasses.replace(make_job(CASE.format("onnxruntime")), shipped=tmp_path)
    monkeypatch.setattr(benchmark, "run_warm", run_warm)
    monkeypatch.setattr(benchmark, "look", lambda pid: Load(0.0, 0.0, 0.0, 2.0))
    for cpu in (ENVIRONMENT["machine"]["cpu"], "another"):
        here = ENVIRONMENT | {"machine": ENVIRONMENT["machine"] | {"cpu": cpu}}
        monkeypatch.setattr(benchmark, "describe_environment", lambda here=here: here)
        benchmark.benchmark_case(job, log=tmp_path / "log", first=first)
    assert asked == [tmp_path, None]


def test_a_case_that_is_not_ok_ships_nothing(monkeypatch, tmp_path):
    def run_cold(target, job, *, log, ship_to):
        (tmp_path / "shipped").mkdir()
        (tmp_path / "shipped" / MADE).touch()
        return {"status": "failed", "reason": "r", "remedy": "w"}, None

    monkeypatch.setattr(benchmark, "run_cold", run_cold)
    job = make_job(CASE.format("onnxruntime"))
    benchmark.benchmark_case(job, log=tmp_path / "log", ship_to=tmp_path / "shipped")
    assert not [*(tmp_path / "shipped").iterdir()]
