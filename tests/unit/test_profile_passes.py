"""A profile of a small model: what each pass finds, and the files it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from engine_cases import convolutions, mode
from job_factory import make_job
from torch import nn
from torch.autograd import DeviceType
from torch.utils._python_dispatch import TorchDispatchMode
from trace_factory import event, operator, step, trace_of

from torchmodes.profiling.chrome import parse_trace, read_trace
from torchmodes.profiling.diff import diff_profiles
from torchmodes.profiling.files import (
    GENERATED_CODE,
    OVERVIEW,
    STACKS,
    TABLES,
    TRACE,
    start_empty,
)
from torchmodes.profiling.layers import LayerTimer
from torchmodes.profiling.memory import ResidentMemory, memory_timeline, peak_by_category
from torchmodes.profiling.overview import overview
from torchmodes.profiling.python_time import python_functions
from torchmodes.profiling.reading import read_profile
from torchmodes.profiling.record import operator_table
from torchmodes.profiling.roofline import place
from torchmodes.profiling.trace import OF_THE_TRACE, profile_case
from torchmodes.profiling.work import TrafficMode, count_work
from torchmodes.report.figures import figures_of
from torchmodes.report.html import render_report
from torchmodes.report.loading import load_report_data
from torchmodes.report.plots import render
from torchmodes.report.sentences import profiled
from torchmodes.workloads.modes.base import MADE, Made
from torchmodes.workloads.workload import carry_out

BATCH = 64
FORWARD_FLOPS = 2 * BATCH * (5 * 16 + 16 * 1)
WEIGHT_BYTES = 4 * (5 * 16 + 16 + 16 * 1 + 1)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


MLP = {"family": "mlp", "hidden": [16]}
OTHERS = {
    "resnet50": {"family": "torchvision", "name": "resnet50", "image_size": 64},
    "gpt2": {
        "family": "transformers",
        "source": "gpt2",
        "head": "causal-lm",
        "sequence_length": 16,
        "options": {"n_layer": 1},
    },
    "distilbert": {
        "family": "transformers",
        "source": "distilbert",
        "head": "base",
        "sequence_length": 16,
        "options": {"n_layers": 1},
    },
}


def profile(
    directory: Path,
    options: dict[str, Any],
    name: str,
    *,
    active: int = 2,
    model: dict[str, Any] = MLP,
    batch_size: int = BATCH,
    compiled_kernels: bool = False,
) -> dict[str, Any]:
    start_empty(directory)
    job = make_job(
        f"inference/cpu/house_price/{name}/fp32-b{batch_size}",
        mode=options,
        model=model | {"weights": "random"},
    )
    schedule = {"active": active, "compiled_kernels": compiled_kernels}
    return carry_out(profile_case, job, schedule=schedule, directory=str(directory))


@pytest.fixture(scope="module")
def eager(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("eager")
    return directory, profile(directory, mode("eager"), "eager")


def test_the_parts_of_a_real_trace_add_up_to_its_wall_time(eager):
    directory, summary = eager
    found = json.loads((directory / OVERVIEW).read_text())
    assert len(found["steps"]) == summary["steps"] == 2
    for one in found["steps"]:
        assert sum(one["parts"].values()) == pytest.approx(one["wall_s"], rel=1e-3)
    assert found["wall_s"] == pytest.approx(summary["profiled_step_s"])
    assert found["parts"]["operator"] > 0
    assert summary["distortion"] == pytest.approx(
        summary["profiled_step_s"] / summary["unprofiled_step_s"]
    )


@pytest.mark.parametrize("name", OTHERS)
def test_the_parts_add_up_for_every_model_and_layers_hold_all_of_its_work(tmp_path, name):
    summary = profile(tmp_path, mode("eager"), "eager", active=1, model=OTHERS[name], batch_size=1)
    (one,) = json.loads((tmp_path / OVERVIEW).read_text())["steps"]
    assert sum(one["parts"].values()) == pytest.approx(one["wall_s"], rel=1e-3)
    table = pd.read_csv(tmp_path / "layers.csv").set_index("layer")
    assert table.loc["(model)", "flops"] == summary["flops"]  # attention included
    assert table["self_s"].sum() == pytest.approx(table.loc["(model)", "total_s"])


def test_every_file_is_there_with_the_columns_it_declares(eager):
    directory, _ = eager
    for name, columns in TABLES.items():
        assert tuple(pd.read_csv(directory / name).columns) == columns
    assert {path.name for path in directory.iterdir()} == {
        *TABLES,
        *(TRACE, OVERVIEW, STACKS, GENERATED_CODE),
    }


def test_operators_tell_mean_and_shapes(eager):
    directory, _ = eager
    table = pd.read_csv(directory / "operators.csv").set_index("operator")
    addmm = table.loc["aten::addmm"]
    assert addmm["calls"] == 2
    assert addmm["mean_s"] == pytest.approx(addmm["total_cpu_s"] / 2)
    assert addmm["flops"] == FORWARD_FLOPS
    assert "64x5" in addmm["shapes"]


def test_work_is_counted_by_hand_the_same(eager):
    _, summary = eager
    assert summary["flops"] == FORWARD_FLOPS
    inputs, output = 4 * BATCH * 5, 4 * BATCH
    assert summary["compulsory_bytes"] == WEIGHT_BYTES + inputs + output
    assert summary["operator_bytes"] > summary["compulsory_bytes"]
    assert summary["memory_peak_bytes"]["weights"] == WEIGHT_BYTES


def test_work_is_counted_in_eager_whatever_the_mode_shipped(tmp_path):
    (tmp_path / MADE).write_text(Made(facts={}, returned=None).model_dump_json())
    case = f"inference/cpu/house_price/onnxruntime/fp32-b{BATCH}"
    model = MLP | {"weights": "random"}
    job = make_job(case, mode=mode("onnxruntime"), model=model, shipped=tmp_path)
    assert count_work(job).flops == FORWARD_FLOPS


def test_layers_have_time_flops_and_parameters(eager):
    directory, summary = eager
    table = pd.read_csv(directory / "layers.csv").set_index("layer")
    assert summary["layers"] == "the forward pass, by module"
    model = table.loc["(model)"]
    linear = table[table["kind"] == "Linear"]
    assert model["parameters"] == linear["parameters"].sum() == WEIGHT_BYTES / 4
    assert model["flops"] == linear["flops"].sum() == FORWARD_FLOPS
    assert table["self_s"].sum() == pytest.approx(model["total_s"])


def test_pythons_overhead_is_what_no_operator_covers(eager):
    _, summary = eager
    told = summary["lean"]
    assert 0 < told["uncovered_share"] < 1
    assert told["uncovered_s"] == pytest.approx(told["uncovered_share"] * told["step_s"])
    assert sum(told["parts"].values()) == pytest.approx(told["step_s"], rel=1e-3)


def test_own_times_of_operators_are_told_of_the_lean_recording_too(eager):
    directory, summary = eager
    table = pd.read_csv(directory / "operators.csv").set_index("operator")
    assert table.loc["aten::addmm", "lean_self_s"] > 0
    assert table["lean_self_s"].sum() <= summary["lean"]["step_s"]


class Averaged(SimpleNamespace):
    """As much of PyTorch's averaged events as the table reads; times in microseconds."""

    def __init__(self, key: str, device: DeviceType, **told: Any) -> None:
        zero = ("self_cpu_time_total", "cpu_time_total", "self_device_time_total")
        zero += ("device_time_total", "flops", "self_cpu_memory_usage")
        named = dict.fromkeys((*zero, "self_device_memory_usage"), 0)
        super().__init__(key=key, device_type=device, count=2, input_shapes=[], **named | told)


def test_kernels_are_no_operators_and_memory_on_the_gpu_counts():
    """Beside an operator PyTorch lists the kernels and the GPU's copy of the named span."""
    events = [
        Averaged(
            "aten::mm", DeviceType.CPU, self_device_time_total=80, self_device_memory_usage=64
        ),
        Averaged("ampere_sgemm_128x64_tn", DeviceType.CUDA, self_device_time_total=80),
        Averaged("model_inference", DeviceType.CUDA, device_time_total=90),
    ]
    recorded: Any = SimpleNamespace(key_averages=lambda **_: events)
    trace = trace_of(step(1, 0, 100), operator("aten::mm", 10, 30))
    table = operator_table(recorded, trace, pd.Series(dtype=float), steps=2)
    assert table["operator"].tolist() == ["aten::mm"]
    assert table["self_device_s"].sum() == pytest.approx(40e-6)
    assert table["memory_bytes"].tolist() == [32]


def test_a_compiled_case_has_no_modules_but_its_graphs(tmp_path):
    torch._dynamo.reset()
    summary = profile(tmp_path, mode("compile", backend="aot_eager"), "compiled", active=1)
    assert summary["layers"].startswith("none: the engine compile runs the model as a whole")
    assert pd.read_csv(tmp_path / "layers.csv").empty
    assert summary["internals"]["fault"] is None
    assert {"graph.txt", "graph_breaks.txt"} <= set(summary["internals"]["files"])
    assert summary["flops"] == FORWARD_FLOPS
    assert overview(read_trace(tmp_path / TRACE)).parts["operator"] > 0


@pytest.mark.skipif(shutil.which("c++") is None, reason="TorchInductor needs a C++ compiler")
def test_the_kernels_of_compiled_code_are_named_on_demand(tmp_path):
    torch._dynamo.reset()
    summary = profile(tmp_path, mode("compile"), "compiled", active=2, compiled_kernels=True)
    table = pd.read_csv(tmp_path / "operators.csv").set_index("operator")
    (kernel,) = [name for name in table.index if "cpp_fused" in name]
    assert "relu" in kernel
    assert table.loc[kernel, "calls"] == 1
    assert 0 < table.loc[kernel, "lean_self_s"] < summary["lean"]["step_s"]
    fused = pd.read_csv(tmp_path / "fused.csv").set_index("kernel")
    assert fused.loc[kernel, "operators"] == "aten::relu"
    assert fused.loc[kernel, "calls"] == 1
    assert 0 < fused["total_s"].sum() < summary["lean"]["step_s"]
    assert summary["layers"].startswith("operators by module: 100")
    layers = pd.read_csv(tmp_path / "layers.csv").set_index("layer")
    linear = layers[layers["kind"] == "Linear"]
    assert (linear["calls"] == 1).all()
    assert len(linear) == 2
    assert linear["flops"].sum() == FORWARD_FLOPS


def test_a_case_that_cannot_run_says_why(tmp_path):
    summary = profile(tmp_path, mode("compile", mode="reduce-overhead"), "graphs")
    assert summary["status"] == "unsupported"
    for name in TABLES:
        assert pd.read_csv(tmp_path / name).empty
    assert overview(read_trace(tmp_path / TRACE)).wall_s == 0


def test_a_model_that_cannot_be_counted_is_profiled_all_the_same(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise TypeError("no counting here")

    monkeypatch.setattr("torchmodes.profiling.trace.count_work", refuse)
    summary = profile(tmp_path, mode("eager"), "eager", active=1)
    assert (summary["status"], summary["flops"]) == ("ok", None)
    assert summary["work_fault"] == "TypeError: no counting here"
    assert not pd.read_csv(tmp_path / "layers.csv").empty


WITH_A_FAULT = {
    "trace": "record",
    "lean": "record_lean",
    "python": "python_functions",
    "work": "count_work",
    "layers": "_time_layers",
    "operators": "operator_table",
    "overview": "overview",
    "kernels": "kernel_table",
    "memory": "memory_timeline",
    "memory_peak": "peak_by_category",
    "internals": "keep_generated_code",
}
"""What computes each part of a profile."""


@pytest.mark.parametrize("part", WITH_A_FAULT)
def test_a_part_that_fails_costs_no_more_than_itself(part, eager, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AttributeError(f"no {part} today")

    monkeypatch.setattr(f"torchmodes.profiling.trace.{WITH_A_FAULT[part]}", refuse)
    monkeypatch.chdir(tmp_path)
    directory = Path("results/profile/inference/cpu/house_price/eager/fp32-b64")
    directory.mkdir(parents=True)
    summary = profile(directory, mode("eager"), "eager", active=1)
    case = {"task": "inference", "device": "cpu", "model": "house_price", "mode": "eager"}
    told = {"case": case | {"precision": "fp32", "batch_size": BATCH}, **summary}
    (directory / "summary.json").write_text(json.dumps(told, allow_nan=False))

    assert summary["status"] == "ok"
    assert summary["faults"][part] == f"AttributeError: no {part} today"
    for name, columns in TABLES.items():
        assert tuple(pd.read_csv(directory / name).columns) == columns
    whole, _ = eager
    follow = {"trace": OF_THE_TRACE, "lean": ("timeline",)}
    lost = {part, *follow.get(part, ())}
    assert set(summary["faults"]) == lost
    empty = {name.removesuffix(".csv") for name in TABLES if pd.read_csv(directory / name).empty}
    assert (
        empty - lost
        == {"kernels", "fused"} - lost
        == {name.removesuffix(".csv") for name in TABLES if pd.read_csv(whole / name).empty} - lost
    )
    assert (summary["layers"] == f"none: {summary['faults'].get('layers')}") == (part == "layers")

    data = load_report_data([], profiles=[directory])
    assert f"no {part} today" in render_report(data)
    assert f"no {part} today" in profiled(data.profiles[0])
    for entry in figures_of("profiles"):
        render(entry, data if entry.of == "run" else data.profiles[0])
    placed = place("x", summary, None, median_s=None)
    assert placed.reason is not None
    compared = diff_profiles(read_profile(directory), read_profile(directory))
    assert (compared["status"] == "ok") == (not {"lean", "operators", "kernels"} & lost)


class Scripted(nn.Module):
    """A model with a scripted part, which takes no hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.head = torch.jit.script(nn.Linear(16, 16)), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.part(x))


def test_a_scripted_part_is_a_layer_as_a_whole():
    module, x = Scripted(), torch.ones(4, 16)
    with torch.no_grad(), LayerTimer(module, wait=lambda: None) as timer:
        module(x)
    table = timer.table(calls=1, flops={"": None, "part": None, "head": 8})
    assert set(table["layer"]) == {"(model)", "part", "head"}
    assert table.set_index("layer")["flops"].isna().to_dict() == {
        "(model)": True,
        "part": True,
        "head": False,
    }


def test_layers_are_timed_on_the_path_that_is_measured():
    """An encoder layer with a hook would run operator by operator instead of as one."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.ones(2, 3, 16)
    with torch.no_grad(), Ran() as ran, LayerTimer(module, wait=lambda: None) as timer:
        module(x)
    assert ran.names == {"aten::_transformer_encoder_layer_fwd"}
    table = timer.table(calls=1, flops={"layers.0": 7}).set_index("layer")
    assert set(table.index) == {"(model)", "layers.0", "layers.1"}
    assert table.loc["layers.0", "flops"] == 7


class Ran(TorchDispatchMode):
    """Notes what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def test_layers_part_a_models_time_among_its_modules():
    example = convolutions()
    with torch.no_grad(), LayerTimer(example.module, wait=lambda: None) as timer:
        for _ in range(2):
            example.inputs.call(example.module)
    table = timer.table(calls=2, flops={"head": 7}).set_index("layer")
    assert table.loc["features.0", ["kind", "depth", "calls"]].tolist() == ["Conv2d", 2, 1]
    below = table.loc[["features", "head"], "total_s"].sum()
    model = table.loc["(model)"]
    assert model["total_s"] == pytest.approx(model["self_s"] + below)
    assert table.loc["head", "flops"] == 7
    assert not example.module._forward_hooks


def test_bytes_are_counted_once_per_tensor_that_was_there_before():
    x, weight, table = torch.ones(8, 4), torch.ones(4, 4), nn.Embedding(1000, 4)
    rows = torch.tensor([1, 2])
    with torch.no_grad(), TrafficMode() as traffic:
        hidden = (x @ weight).T.relu()  # the transposed view moves nothing
        weight.mul_(2)
    assert hidden.shape == (4, 8)
    # x and weight are read, weight is written; the product is made inside
    assert traffic.external_bytes == 4 * (32 + 16 + 16)
    assert traffic.operator_bytes == 4 * ((32 + 16 + 32) + (32 + 32) + (16 + 16))
    with torch.no_grad(), TrafficMode() as traffic:
        table(rows)
    assert traffic.external_bytes == 8 * 4 + 2 * 8  # two rows of the table, two indices


def test_cprofile_charges_waiting_to_the_caller():
    def inner() -> int:
        return sum(range(200_000))

    def outer() -> int:
        return inner()

    table = python_functions(outer, calls=2)
    named = {name.split(" ")[-1]: row for name, row in table.set_index("function").iterrows()}
    assert named["outer"]["cumulative_s"] >= named["inner"]["cumulative_s"]
    assert named["outer"]["self_s"] < named["inner"]["cumulative_s"]
    assert named["inner"]["calls"] == 1


def allocation(at: float, size: int, address: int, total: int) -> dict[str, Any]:
    args = {"Bytes": size, "Addr": address, "Device Type": 0, "Total Allocated": total}
    return {"ph": "i", "name": "[memory]", "ts": at, "args": args}


def test_memory_that_an_operator_releases_itself_is_workspace():
    trace = parse_trace(
        {
            "traceEvents": [
                step(1, 0, 100),
                operator("aten::conv2d", 10, 40),
                operator("aten::convolution", 11, 39),
                allocation(12, 1000, 1, 1000),  # the result, kept
                allocation(20, 300, 2, 1300),  # scratch
                allocation(30, -300, 2, 1000),
                operator("aten::relu", 50, 60),
                allocation(51, 1000, 3, 2000),
                allocation(70, -1000, 1, 1000),
                allocation(150, 9999, 4, 11000),  # after the step
            ]
        }
    )
    peak = peak_by_category(trace, weights=50)
    assert (peak.weights, peak.activations, peak.workspace) == (50, 2000, 0)
    first = parse_trace(
        {
            "traceEvents": [
                step(1, 0, 100),
                operator("aten::conv2d", 10, 40),
                allocation(12, 1000, 1, 1000),
                allocation(20, 300, 2, 1300),
                allocation(30, -300, 2, 1000),
            ]
        }
    )
    assert peak_by_category(first, weights=0).workspace == 300
    assert peak_by_category(trace_of(step(1, 0, 1)), weights=7).activations == 0


def test_the_timeline_joins_resident_memory_and_allocations():
    resident = ResidentMemory()
    with resident.phase("build"):
        pass
    trace = parse_trace(
        {"traceEvents": [event("cpu_op", "x", 0, 9), step(1, 10, 90), allocation(20, 64, 1, 64)]}
    )
    table = memory_timeline(resident.table(), trace)
    assert table["phase"].tolist() == ["build", "build", "steps"]
    assert (table["rss_bytes"].iloc[:2] > 1e6).all()
    last = table.iloc[-1]
    assert last["time_s"] == pytest.approx(10e-6)
    assert last["allocated_bytes"] == 64
    assert pd.isna(last["rss_bytes"])
