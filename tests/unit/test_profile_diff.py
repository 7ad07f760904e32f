"""The diff of two profiles: an account that adds up, and a sentence that follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from torchmodes.planning.cases import parse_case
from torchmodes.profiling.diff import UNCOVERED, diff
from torchmodes.profiling.files import KERNEL_COLUMNS, OPERATOR_COLUMNS, start_empty
from torchmodes.profiling.overview import PARTS
from torchmodes.profiling.reading import CaseProfile, read_profile
from torchmodes.report.data import make_report_data
from torchmodes.report.why import explained_diff

CASE = {
    "task": "inference",
    "device": "cpu",
    "model": "resnet50",
    "precision": "fp32",
    "batch_size": 1,
}


def side(
    mode: str,
    wall_ms: float,
    operators: dict[str, tuple[float, float]],
    kernels: dict[str, tuple[float, float]] | None = None,
    **told: Any,
) -> CaseProfile:
    """A profile: operators and kernels by name as (calls, milliseconds)."""
    ops = pd.DataFrame(columns=list(OPERATOR_COLUMNS))
    ops["operator"], ops["calls"] = list(operators), [c for c, _ in operators.values()]
    ops["lean_self_s"] = [ms / 1e3 for _, ms in operators.values()]
    gpu = pd.DataFrame(columns=list(KERNEL_COLUMNS))
    gpu["kernel"] = list(kernels or {})
    gpu["calls"] = [c for c, _ in (kernels or {}).values()]
    gpu["total_s"] = [ms / 1e3 for _, ms in (kernels or {}).values()]
    summary = {
        "case": CASE | {"mode": mode},
        "status": "ok",
        "unprofiled_step_s": wall_ms / 1.25e3,
        "lean": {
            "step_s": wall_ms / 1e3,
            "distortion": 1.25,
            "parts": dict.fromkeys(PARTS, 0.0) | {"operator": wall_ms / 1e3},
        },
    } | told
    overview = {
        "launches": {"launches": 2.0, "kernels": float(len(gpu))} if kernels else None,
    }
    case = parse_case(f"inference/cpu/resnet50/{mode}/fp32-b1")
    tables = {"operators": ops, "kernels": gpu}
    return CaseProfile(case, Path(case.profile), summary, overview, tables)


EAGER = side(
    "eager",
    100,
    {
        "aten::mkldnn_convolution": (53, 60),
        "aten::native_batch_norm": (53, 20),
        "aten::clamp_min_": (49, 10),
        "aten::add_": (16, 0.5),
        "model_inference": (1, 9.5),
    },
)
FUSED = side(
    "inductor",
    70,
    {
        "aten::mkldnn_convolution": (53, 50),
        "## Call CompiledFxGraph fabc ##": (1, 15),
        "Torch-Compiled Region: 0/0": (1, 2),
        "aten::add_": (8, 0.5),
        "model_inference": (1, 2.5),
    },
)


def test_the_account_adds_up_to_the_difference_of_the_steps():
    found = diff(EAGER, FUSED)
    assert found["gained_s"]["profiled"] == pytest.approx(0.030)
    assert found["account_gained_s"] == pytest.approx(0.030)
    rows = {row["name"]: row for row in found["account"]}
    assert rows["aten::native_batch_norm"]["gained_s"] == pytest.approx(0.020)
    assert rows["CompiledFxGraph"]["gained_s"] == pytest.approx(-0.015)
    assert rows["aten::mkldnn_convolution"]["gained_s"] == pytest.approx(0.010)
    # the spans' own time is Python's: 9.5 ms before, 2 + 2.5 ms after
    assert rows[UNCOVERED]["gained_s"] == pytest.approx(0.005)
    assert found["account"][0]["name"] == "aten::native_batch_norm"
    json.dumps(found, allow_nan=False)


def test_the_sentence_says_what_went_what_came_and_what_moved():
    told = diff(EAGER, FUSED)["sentence"]
    assert told == (
        "A step of inference/cpu/resnet50/inductor/fp32-b1 takes 70 ms, 30 ms less than"
        " one of inference/cpu/resnet50/eager/fp32-b1 (100 ms): aten::native_batch_norm,"
        " aten::clamp_min_ (30 ms) no longer run; CompiledFxGraph (15 ms) runs instead;"
        " aten::mkldnn_convolution takes 10 ms less; Python and gaps take 5 ms less."
    )


def test_the_other_way_round_is_the_opposite():
    there, back = diff(EAGER, FUSED), diff(FUSED, EAGER)
    assert back["gained_s"]["profiled"] == -there["gained_s"]["profiled"]
    assert "30 ms more" in back["sentence"]


def test_a_difference_that_the_profiler_made_is_told():
    faster = side("inductor", 70, {"aten::mm": (1, 70)}, unprofiled_step_s=0.1)
    assert diff(EAGER, FUSED)["warning"] is None
    assert diff(EAGER, faster)["warning"].startswith(
        "Without the profiler it is the other way round:"
        " inference/cpu/resnet50/inductor/fp32-b1 takes 20 ms more."
    )


def test_equal_profiles_have_nothing_to_tell():
    assert diff(EAGER, EAGER)["sentence"].endswith("no operator changes by 2 % of a step.")


def test_on_a_gpu_kernels_are_compared_and_launches_counted():
    a = side("eager", 10, {"aten::mm": (1, 5)}, {"gemm": (2, 4), "relu": (2, 2)})
    b = side("inductor", 8, {"aten::mm": (1, 5)}, {"gemm": (2, 4), "triton_fused": (1, 1)})
    found = diff(a, b)
    rows = {row["name"]: row for row in found["account"]}
    assert set(rows) == {"gemm", "relu", "triton_fused", UNCOVERED}
    assert rows["gemm"]["kind"] == "kernel"
    assert rows[UNCOVERED]["a_s"] == pytest.approx(0.004)
    assert found["a"]["launches"] == 2


def test_torchscripts_own_time_is_told_as_such():
    traced = side("trace", 90, {"forward": (1, 80), "aten::add_": (16, 10)})
    assert "TorchScript forward (80 ms) runs instead" in diff(EAGER, traced)["sentence"]


def test_a_runtime_outside_pytorch_is_told():
    ort = side("onnxruntime", 40, {"model_inference": (1, 40)})
    assert diff(EAGER, ort)["sentence"].endswith(
        "inference/cpu/resnet50/onnxruntime/fp32-b1 runs outside PyTorch, where no operator shows."
    )


def test_fewer_calls_are_told():
    fewer = side(
        "fx",
        60,
        EAGER.tables["operators"]
        .set_index("operator")["lean_self_s"]
        .map(lambda s: (1.0, s * 600))
        .to_dict(),
    )
    assert "in 1 call instead of 53" in diff(EAGER, fewer)["sentence"]


def test_a_profile_that_did_not_run_is_no_comparison(tmp_path):
    folder = tmp_path / parse_case("inference/cpu/resnet50/trt/fp32-b1").profile
    start_empty(folder)
    told = {"case": CASE | {"mode": "trt"}, "status": "unsupported", "reason": "no GPU"}
    (folder / "summary.json").write_text(json.dumps(told))
    found = diff(EAGER, read_profile(folder))
    assert found["status"] == "unsupported"
    assert found["reason"] == "inference/cpu/resnet50/trt/fp32-b1: no GPU"


ONNX = side(
    "onnxruntime",
    40,
    {"onnxruntime::Conv": (53, 36), "onnxruntime::Gemm": (1, 1), "model_inference": (1, 3)},
)


def test_another_engines_operators_are_compared_by_what_they_are_for():
    found = diff(EAGER, ONNX)
    groups = {row["name"]: row["gained_s"] for row in found["groups"]}
    assert groups["convolution"] == pytest.approx(0.024)
    assert groups["normalisation"] == pytest.approx(0.020)
    assert sum(groups.values()) == pytest.approx(found["gained_s"]["profiled"])
    assert "convolution takes 24 ms less" in found["sentence"]
    assert "aten::" not in found["sentence"]


@pytest.mark.parametrize(("plain_ms", "contradicts"), [(60, False), (75, False), (80, True)])
def test_a_difference_of_another_size_without_the_profiler_is_told(plain_ms, contradicts):
    a, b = (side(m, w, {"aten::mm": (1, w)}) for m, w in (("eager", 100), ("fx", 40)))
    a.summary["unprofiled_step_s"], b.summary["unprofiled_step_s"] = 0.1, 0.1 - plain_ms / 1e3
    told = diff(a, b)["warning"] or ""
    assert (f"the difference is {plain_ms} ms, not 60 ms" in told) == contradicts


def test_a_contradicting_diff_without_records_is_scaled_to_steps_without_the_profiler():
    a, b = (side(m, w, {"aten::mm": (1, w)}) for m, w in (("eager", 100), ("fx", 40)))
    a.summary["unprofiled_step_s"], b.summary["unprofiled_step_s"] = 0.08, 0.07
    told = explained_diff(diff(a, b), make_report_data([]))
    assert sum(row["gained_s"] for row in told.rows) == pytest.approx(0.01)
    assert "scaled to steps without the profiler" in told.said
