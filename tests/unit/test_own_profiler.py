"""Engines that PyTorch's profiler sees nothing of: their own profilers tell their operators."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_cases import mode
from job_factory import make_job
from record_factory import make_record

from torchmodes.measure.combine import combine
from torchmodes.profiling.diff import diff_profiles
from torchmodes.profiling.files import SUMMARY, TRACE, start_empty
from torchmodes.profiling.reading import CaseProfile, read_profile
from torchmodes.profiling.trace import profile_case
from torchmodes.report.chosen_profiles import choose_profiles
from torchmodes.report.data import make_report_data
from torchmodes.report.why import explained_diff
from torchmodes.workloads.modes import openvino
from torchmodes.workloads.modes.onnxruntime import executed_calls, layer_of
from torchmodes.workloads.workload import carry_out

CASE = "inference/cpu/distilbert/{}/fp32-b2"
TINY = {
    "family": "transformers",
    "source": "distilbert",
    "head": "base",
    # Wide enough for counters that count microseconds.
    "sequence_length": 64,
    "options": {"n_layers": 1, "dim": 64, "n_heads": 2, "hidden_dim": 256, "vocab_size": 50},
    "weights": "random",
}


def profiled(root: Path, name: str) -> CaseProfile:
    case = CASE.format(name)
    folder = root / "results/profile" / case
    start_empty(folder)
    job = make_job(case, mode=mode(name), model=TINY)
    summary = carry_out(profile_case, job, schedule={"active": 2}, directory=str(folder))
    assert summary["faults"] == {}
    whole = {"case": job.case.identity(), **summary}
    (folder / SUMMARY).write_text(json.dumps(whole), encoding="utf-8")
    return read_profile(folder)


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CaseProfile]]:
    before, root = torch.get_num_threads(), tmp_path_factory.mktemp("run")
    yield {name: profiled(root, name) for name in ("eager", "onnxruntime", "openvino")}
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "operator", "calls"),
    [("onnxruntime", "onnxruntime::Gelu", 1), ("openvino", "openvino::FullyConnected", 6)],
)
def test_operators_of_the_engine_are_counted_per_step(profiles, name, operator, calls):
    table = profiles[name].tables["operators"].set_index("operator")
    assert table.loc[operator, "calls"] == calls
    assert 0 < table.loc[operator, "self_cpu_s"] < profiles[name].summary["profiled_step_s"]
    assert 0 < table.loc[operator, "lean_self_s"] < profiles[name].summary["lean"]["step_s"]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_they_stand_in_the_trace_within_the_steps_on_a_thread_of_their_own(profiles, name):
    with gzip.open(profiles[name].folder / TRACE, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    steps = [e for e in events if e["name"].startswith("ProfilerStep") and e["ph"] == "X"]
    own = [e for e in events if e["name"].startswith(f"{name}::")]
    threads = {(e["pid"], e["tid"]) for e in own}
    assert len(threads) == 1
    assert threads.isdisjoint({(step["pid"], step["tid"]) for step in steps})
    for found in own:
        assert any(s["ts"] <= found["ts"] < s["ts"] + s["dur"] for s in steps)
    assert profiles[name].overview["parts"]["operator"] > 0


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engines_layers_are_the_models_modules(profiles, name):
    layers = profiles[name].tables["layers"].set_index("layer")
    below = layers.loc["model.transformer.layer.0.ffn"]
    assert below["kind"] == "FFN"
    inside = layers.loc["model.transformer.layer.0.ffn.lin2"]
    assert 0 < inside["self_s"] < below["total_s"] < layers.loc["(model)", "total_s"]
    assert "model.transformer.layer" not in layers.index, "a list, which eager never calls"
    assert "of their time tells one" in profiles[name].summary["layers"]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_diff_from_eager_adds_up_in_operators_and_in_their_groups(profiles, name):
    found = diff_profiles(profiles["eager"], profiles[name])
    assert found["status"] == "ok"
    gained = found["gained_s"]["profiled"]
    groups = {row["name"]: row for row in found["groups"]}
    assert sum(row["gained_s"] for row in found["account"]) == pytest.approx(gained)
    assert sum(row["gained_s"] for row in groups.values()) == pytest.approx(gained)
    for group in ("matmul", "normalisation"):
        assert groups[group]["a_s"] > 0 < groups[group]["b_s"]
    by_layer = {row["name"]: row for row in found["layers"]}
    assert "model.transformer.layer.0.ffn" in by_layer


@pytest.mark.parametrize("pick", ["onnxruntime", "openvino"])
def test_a_picks_diff_adds_up_to_the_measured_difference(profiles, pick):
    speed_ups = {"eager": 1.0, pick: 1.5}
    records = [
        combine([make_record(CASE.format(m), speed_up=s, noise=0.002, seed=i) for i in range(3)])
        for m, s in speed_ups.items()
    ]
    data = make_report_data(records)
    ((a, b),) = choose_profiles(data.cases, runner_up=False).compared
    assert (str(a), str(b)) == (CASE.format("eager"), CASE.format(pick))
    found = diff_profiles(profiles[a.mode], profiles[b.mode])
    for side in ("a", "b"):
        profiled_s = sum(row[f"{side}_s"] for row in found["account"])
        plain_s = profiled_s / found[side]["distortion"]
        assert plain_s == pytest.approx(found[side]["unprofiled_step_s"])
    (measured,) = (one.statistics for one in data.cases if one.case == b)
    gained_s = measured.baseline.median_s - measured.candidate.median_s
    rows = explained_diff(found, data).rows
    assert sum(row["gained_s"] for row in rows) == pytest.approx(gained_s)


def test_calls_are_parted_by_the_runs_of_the_session():
    def node(ts: int, name: str) -> dict:
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": 2} | {
            "args": {"op_name": "Conv"}
        }

    run = {"cat": "Session", "name": "model_run", "dur": 10}
    events = [node(21, "a"), run | {"ts": 20}, node(43, "b"), node(41, "a"), run | {"ts": 40}]
    one, two = executed_calls(events, [1_000, 2_000], {"a": "block.conv"})
    assert [o.name for o in one.operators] == ["a"]
    assert [(o.name, o.layer) for o in two.operators] == [("a", "block.conv"), ("b", None)]
    assert (two.began_ns, two.operators[1].start_s) == (2_000, pytest.approx(3e-6))


def test_openvinos_counters_are_means_over_all_calls_so_far():
    def node(name: str, mean_us: int, status: str = "Status.EXECUTED") -> SimpleNamespace:
        real_time = timedelta(microseconds=mean_us)
        return SimpleNamespace(
            node_name=name, node_type="MatMul", status=status, real_time=real_time
        )

    skipped = node("c", 9, "Status.NOT_RUN")
    first = [node("a", 90), node("b", 10), skipped]
    counted = [(1, first), (2, [node("a", 50), node("b", 20), skipped])]
    one, two = openvino.executed_calls(counted, {"a": "block"})
    assert [o.layer for o in two.operators] == ["block", None]
    assert [(o.name, round(1e6 * o.seconds)) for o in one.operators] == [("a", 90), ("b", 10)]
    assert [(o.name, round(1e6 * o.seconds)) for o in two.operators] == [("a", 10), ("b", 30)]
    assert round(1e6 * two.operators[1].start_s) == 10


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("node_linear", "fc"),
        ("node_linear/MatMulAddFusion", "fc"),
        ("relu_1_nchwc", "layer1.0"),  # with the convolution and normalisation before it
        ("SkipLayerNormalization_token_3", None),
    ],
)
def test_a_fused_node_belongs_to_the_module_around_it(node, layer):
    assert layer_of(node, {"node_linear": "fc", "relu_1": "layer1.0.relu"}) == layer


@pytest.mark.parametrize(
    ("made_of", "layer"),
    [
        ("node_linear,node_gelu", "ffn"),
        ("node_linear/MatMulAddFusion,val_1_DequantizeLinear", "ffn.lin"),
        ("Multiply_9,node_gelu", "ffn"),  # a convolution with its normalisation has lost its name
        ("Reorder_1", None),
    ],
)
def test_a_node_of_openvino_belongs_to_the_module_around_what_it_was_made_of(made_of, layer):
    told = {"originalLayersNames": SimpleNamespace(astype=lambda _: made_of)}
    node = SimpleNamespace(get_rt_info=lambda: told, get_friendly_name=lambda: "n")
    executed = SimpleNamespace(get_ordered_ops=lambda: [node])
    layers = {"node_linear": "ffn.lin", "val_1": "ffn.lin", "node_gelu": "ffn.act"}
    assert openvino.executed_layers(executed, layers).get("n") == layer
