"""The overview of traces whose answers can be worked out by hand (times in microseconds)."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math

import pytest
from trace_factory import event, kernel, launch, operator, step, trace_of

from torchmodes.planning.cases import parse_case
from torchmodes.profiling.chrome import read_trace
from torchmodes.profiling.kernels import describe_launches, kernel_table, uses_tensor_cores
from torchmodes.profiling.overview import overview
from torchmodes.profiling.recommendations import recommend, recommend_on_cpu
from torchmodes.profiling.self_time import self_times

US = 1e-6


def microseconds(parts: dict[str, float]) -> dict[str, float]:
    """Return the parts that are there, in whole microseconds."""
    return {name: round(seconds / US) for name, seconds in parts.items() if seconds > 1e-12}


def cpu_only():
    """Two operators, one inside the other's span, and a loader; 40 of 100 belong to nothing."""
    return trace_of(
        step(2, 0, 100),
        event("user_annotation", "model_train_step", 0, 100),
        event("user_annotation", "enumerate(DataLoader)#_Iter.__next__", 0, 10),
        operator("aten::linear", 10, 40),
        operator("aten::addmm", 15, 35),
        operator("aten::relu", 50, 70),
        event("python_function", "nn.Module: Linear", 0, 100),
    )


def overlapping_streams():
    """Kernels of two streams: 20-50 at 0.5 blocks per SM, 40-60 at 0.8, a copy 55-70."""
    return trace_of(
        step(5, 0, 100),
        operator("aten::mm", 5, 30),
        launch(10, 15, 1),
        launch(16, 20, 2),
        event("cuda_runtime", "cudaDeviceSynchronize", 30, 95),
        kernel("sm80_xmma_gemm_tensor16x8x8", 20, 50, correlation=1, blocks=0.5, occupancy=40),
        kernel("elementwise", 40, 60, correlation=2, blocks=0.8, occupancy=80),
        event("gpu_memcpy", "Memcpy DtoH", 55, 70),
        event("gpu_memset", "Memset", 70, 72),
    )


def cuda_graph():
    """One launch of a graph of three kernels, in two steps."""
    return trace_of(
        step(1, 0, 50),
        launch(5, 10, 7, "cudaGraphLaunch"),
        kernel("a", 14, 20, correlation=7),
        kernel("b", 22, 30, correlation=7),
        kernel("a", 30, 40, correlation=7),
        step(2, 50, 100),
        launch(55, 60, 8, "cudaGraphLaunch"),
        kernel("a", 66, 70, correlation=8),
        kernel("b", 70, 80, correlation=8),
        kernel("a", 80, 90, correlation=8),
    )


def test_cpu_only():
    found = overview(cpu_only())
    assert microseconds(found.parts) == {"data_loading": 10, "operator": 50, "other": 40}
    assert found.wall_s == pytest.approx(100 * US)
    assert found.uncovered_s == pytest.approx(50 * US)  # loading is no operator
    assert found.device is None
    assert found.launches is None
    assert kernel_table(cpu_only()).empty


def test_overlapping_streams():
    found = overview(overlapping_streams())
    # kernel 20-60; copy 60-70; fill 70-72; runtime 10-15, 16-20, 72-95; operator 5-10, 15-16
    assert microseconds(found.parts) == {
        "kernel": 40,
        "memcpy": 10,
        "memset": 2,
        "runtime": 32,
        "operator": 6,
        "other": 10,
    }
    assert found.device is not None
    assert found.device.utilisation == pytest.approx(0.40)
    # 20-40 at 0.5, 40-50 at 1.3 capped to 1, 50-60 at 0.8
    assert found.device.sm_efficiency == pytest.approx((10 + 10 + 8) / 100)
    assert found.device.occupancy == pytest.approx((0.4 * 30 + 0.8 * 20) / 50)
    assert found.device.tensor_core_share == pytest.approx(30 / 50)
    # idle 0-20 and 72-100; delays 20 - 15 and 40 - 20
    assert found.launches is not None
    assert found.launches.launches == 2
    assert found.launches.gaps == 2
    assert found.launches.idle_s == pytest.approx(48 * US)
    assert found.launches.mean_delay_s == pytest.approx(12.5 * US)


def test_cuda_graphs_and_two_steps():
    found = overview(cuda_graph())
    assert [microseconds(s.parts) for s in found.steps] == [
        {"kernel": 24, "runtime": 5, "other": 21},
        {"kernel": 24, "runtime": 5, "other": 21},
    ]
    assert found.wall_s == pytest.approx(50 * US)
    launches = found.launches
    assert launches is not None
    assert (launches.launches, launches.graph_launches, launches.kernels) == (1, 1, 3)
    # Only a graph's first kernel waits for the launch: 14 - 10 and 66 - 60.
    assert launches.mean_delay_s == pytest.approx(5 * US)
    table = kernel_table(cuda_graph()).set_index("kernel")
    assert table.loc["a", "calls"] == 2
    assert table.loc["a", "total_s"] == pytest.approx((6 + 10 + 4 + 10) / 2 * US)
    assert table.loc["a", "min_s"] == pytest.approx(4 * US)
    assert table.loc["a", "max_s"] == pytest.approx(10 * US)
    assert table.loc["a", "mean_s"] == pytest.approx(7.5 * US)
    assert table.loc["a", "launch_delay_s"] == pytest.approx(5 * US)
    assert table["launch_delay_s"].isna().to_dict() == {"a": False, "b": True}


def test_two_steps_that_differ_keep_their_own_parts():
    trace = trace_of(
        *(step(2, 0, 100), operator("aten::mm", 10, 90)),
        operator("between the steps", 100, 120),
        *(step(3, 120, 160), operator("aten::mm", 150, 200)),  # cut off where the step ends
    )
    found = overview(trace)
    assert [microseconds(s.parts) for s in found.steps] == [
        {"operator": 80, "other": 20},
        {"operator": 10, "other": 30},
    ]
    assert microseconds(found.parts) == {"operator": 45, "other": 25}


def test_missing_fields_give_none_and_not_zero():
    trace = trace_of(
        step(2, 0, 100),
        kernel("a", 10, 40),  # no blocks, no occupancy, no correlation
        {"ph": "X", "cat": "kernel", "name": "cut off", "ts": 50},
        {"ph": "X", "cat": "cpu_op", "ts": 0, "dur": 5},
    )
    found = overview(trace)
    assert microseconds(found.parts) == {"kernel": 30, "operator": 5, "other": 65}
    assert found.device is not None
    assert (found.device.sm_efficiency, found.device.occupancy) == (None, None)
    assert found.device.utilisation == pytest.approx(0.3)
    assert found.launches is not None
    assert found.launches.mean_delay_s is None
    assert kernel_table(trace).loc[0, ["blocks_per_sm", "launch_delay_s"]].isna().all()
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_communication_is_no_kernel_of_the_model():
    trace = trace_of(
        step(1, 0, 100),
        kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 10, 50),
        kernel("ampere_bf16_s16816gemm_bf16_128x64", 30, 60),
    )
    found = overview(trace)
    assert microseconds(found.parts) == {"kernel": 30, "communication": 20, "other": 50}
    assert found.device is not None
    assert found.device.tensor_core_share == 1
    assert found.device.utilisation == pytest.approx(0.5)


def test_of_compiled_code_only_what_leads_to_it_is_overhead():
    trace = trace_of(
        step(1, 0, 100),
        operator("Torch-Compiled Region: 0/0", 10, 90),
        event("user_annotation", "## Call CompiledFxGraph f123 ##", 30, 80),
        operator("extern_kernels.mm", 40, 60),
    )
    assert overview(trace).uncovered_s == pytest.approx(50 * US)


def test_own_time_is_what_nothing_inside_takes():
    trace = trace_of(
        step(1, 0, 100),
        operator("aten::linear", 10, 40),
        operator("aten::addmm", 15, 35),
        operator("aten::addmm", 40, 50),  # touches its neighbour, and is not inside it
        event("user_annotation", "## Call CompiledFxGraph f1 ##", 60, 90),
        event("python_function", "call", 60, 90),  # takes nothing away
        operator("aten::mm", 65, 70),
        operator("outside", 200, 300),
    )
    assert microseconds(self_times(trace).to_dict()) == {
        "aten::linear": 10,
        "aten::addmm": 30,
        "## Call CompiledFxGraph f1 ##": 25,
        "aten::mm": 5,
    }


def test_an_operator_that_outlasts_the_one_before_keeps_its_time():
    trace = trace_of(step(1, 0, 100), operator("small", 10, 20), operator("large", 19, 80))
    assert microseconds(self_times(trace).to_dict()) == {"large": 61}


def test_a_trace_without_steps_is_one_step():
    found = overview(trace_of(operator("aten::mm", 10, 40), operator("aten::relu", 50, 60)))
    assert microseconds(found.parts) == {"operator": 40, "other": 10}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ampere_sgemm_128x64_tn", False),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8_stage3_ffma_kernel", False),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_nhwc_tensor16x8x8_kernel", True),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x128_16x5_tn_align4>", True),
        ("ampere_fp16_s16816gemm_fp16_64x64_ldg8_f2f_tn", True),
        ("volta_fp16_s884gemm_fp16_128x128_ldg8_f2f_nn", True),
        ("nvjet_hsh_128x64_64x10_2x1_v_bz_TNT", True),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits>", True),
        ("void at::native::vectorized_elementwise_kernel<4>", False),
        ("void at::native::(anonymous namespace)::max_pool_forward_nchw", False),
        ("triton_poi_fused_relu_1688", False),
    ],
)
def test_tensor_cores_are_told_by_the_kernels_name(name, expected):
    assert uses_tensor_cores(name) is expected


def test_recommendations_give_the_figure_and_the_bound_it_crosses():
    found = {r.finding: r for r in recommend(overview(cpu_only()))}
    assert set(found) == {"data loading", "Python overhead"}
    assert found["data loading"].reason.startswith("10 %")
    assert found["data loading"].value > found["data loading"].threshold
    on_gpu = {r.finding for r in recommend(overview(overlapping_streams()))}
    assert on_gpu == {"copies", "GPU utilisation", "SM efficiency", "Python overhead"}
    assert "short kernels" in {r.finding for r in recommend(overview(cuda_graph()))}


@pytest.mark.parametrize(
    ("told", "findings"),
    [
        ({}, {"low precision"}),
        ({"multiplying": 0.4}, set()),
        ({"isa": ["avx2"]}, set()),
        ({"precision": "bf16"}, set()),
        ({"isa": [], "threads": 4}, {"oversubscription"}),
    ],
)
def test_a_cpu_is_advised_by_what_it_has(told, findings):
    case = parse_case(f"inference/cpu/resnet50/eager/{told.pop('precision', 'fp32')}-b1")
    usual = {"multiplying": 0.8, "isa": ["avx512_vnni"], "threads": 2, "cores": 2}
    found = {r.finding: r for r in recommend_on_cpu(case, **(usual | told))}
    assert set(found) == findings
    if "low precision" in found:
        assert found["low precision"].reason == (
            "80 % of the step multiplies in fp32, and this processor has avx512_vnni"
        )
        assert "precisions: [int8]" in found["low precision"].advice


def test_a_busy_step_needs_no_advice():
    assert recommend(overview(trace_of(step(1, 0, 100), operator("aten::mm", 1, 99)))) == []


def test_an_occupancy_that_was_rounded_to_nothing_is_told_as_under_one_per_cent():
    small = kernel("gemm", 20, 30, correlation=1, blocks=0.01, occupancy=0)
    found = {r.finding: r for r in recommend(overview(trace_of(step(1, 0, 100), small)))}
    assert found["occupancy"].reason.startswith("under 1 % of the warps")
    assert found["occupancy"].value == 0
    assert found["GPU utilisation"].reason.startswith("10 % of the step")


def test_traces_are_read_gzipped_or_not_and_faults_name_the_file(tmp_path):
    content = {"traceEvents": [step(1, 0, 10)]}
    (tmp_path / "trace.json").write_text(json.dumps(content))
    with gzip.open(tmp_path / "trace.json.gz", "wt") as file:
        json.dump(content, file)
    for name in ("trace.json", "trace.json.gz"):
        assert len(read_trace(tmp_path / name).steps) == 1
    (tmp_path / "trace.json").write_text("{}")
    with pytest.raises(ValueError, match=r"trace\.json: not a Chrome trace \(traceEvents"):
        read_trace(tmp_path / "trace.json")


@pytest.mark.parametrize(
    "value", [-1, math.inf, -math.inf, math.nan, None, "3", True, 10**400, [1]]
)
@pytest.mark.parametrize("told", ["blocks per SM", "est. achieved occupancy %"])
def test_what_a_kernel_cannot_have_is_not_told_rather_than_counted(told, value):
    odd = kernel("mm", 10, 40) | {"args": {told: value, "correlation": value}}
    found = overview(
        trace_of(step(1, 0, 100), odd, kernel("add", 50, 60, blocks=0.5, occupancy=40))
    )
    assert found.device.utilisation == pytest.approx(0.4)
    assert found.device.sm_efficiency == pytest.approx(0.05)
    assert found.device.occupancy == pytest.approx(0.4)


def test_an_occupancy_above_all_there_is_is_not_told():
    odd = kernel("mm", 10, 40, occupancy=250)
    assert overview(trace_of(step(1, 0, 100), odd)).device.occupancy is None


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"ts": "12"}, "'mm' has a ts that is no time: '12'"),
        ({"ts": math.inf}, "'mm' has a ts that is no time: inf"),
        ({"ts": 1e300}, "'mm' has a ts that is no time: 1e\\+300"),
        ({"dur": math.nan}, "'mm' has a dur that is no time: nan"),
        ({"dur": -5}, "'mm' has a dur below 0: -5"),
        ({"dur": {}}, "'mm' has a dur that is no time: {}"),
    ],
    ids=str,
)
def test_a_time_that_is_none_is_told_with_its_event_and_file(tmp_path, broken, told):
    path = tmp_path / "trace.json"
    path.write_text(
        json.dumps(
            {"traceEvents": [operator("aten::add", 0, 1), event("cpu_op", "mm", 5, 9) | broken]}
        )
    )
    with pytest.raises(ValueError, match=f"trace.json: not a Chrome trace .*{told}"):
        read_trace(path)


@pytest.mark.parametrize(
    "missing",
    [{"ts": None}, {"dur": None}, {"name": None}, {"args": None}, {"args": 3}, {"cat": None}],
)
def test_what_a_profiler_that_was_cut_off_did_not_write_is_left_out(missing):
    found = overview(
        trace_of(step(1, 0, 100), operator("mm", 0, 50), operator("mm", 60, 70) | missing)
    )
    assert microseconds(found.parts)["operator"] in (50, 60)


def test_events_in_any_order_a_list_of_them_and_any_bytes_are_read(tmp_path):
    events = [operator("aten::mm", 10, 40), step(1, 0, 100), operator("aten::\ud7ff", 50, 60)]
    path = tmp_path / "trace.json"
    whole = overview(trace_of(*events))
    path.write_bytes(json.dumps(events[::-1]).encode())
    assert overview(read_trace(path)) == whole
    path.write_bytes(
        json.dumps({"traceEvents": events})
        .replace("\\ud7ff", "?")
        .encode()
        .replace(b"?", b"\xff\xfe")
    )
    assert overview(read_trace(path)) == whole


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"null",
        b"3",
        b'{"traceEvents": {}}',
        b'{"traceEvents": [0]}',
        b"\xff\xfe[\x00]\x00",
        b"[" * 100_000,
    ],
    ids=["empty", "cut off", "null", "number", "object", "no event", "UTF-16", "nested"],
)
def test_what_is_no_trace_is_told_with_its_file(tmp_path, content):
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"trace\.json: not a Chrome trace"):
        read_trace(path)


@pytest.mark.parametrize("keep", [3, 40, -9])
def test_an_archive_that_was_cut_off_or_changed_is_told_with_its_file(tmp_path, keep):
    path = tmp_path / "trace.json.gz"
    whole = gzip.compress(
        json.dumps({"traceEvents": [operator("mm", 0, n) for n in range(99)]}).encode()
    )
    for content in (whole[:keep], whole[:20] + bytes(30) + whole[50:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"trace\.json\.gz: not a Chrome trace"):
            read_trace(path)


def test_steps_of_no_length_have_no_shares():
    found = overview(trace_of(step(1, 10, 10), kernel("mm", 0, 20)))
    assert (found.wall_s, found.device, found.launches) == (0, None, None)


def test_an_allocation_of_unknown_size_is_left_out():
    told = {"Bytes": "many", "Addr": 1, "Device Type": 0}
    events = [{"ph": "i", "name": "[memory]", "ts": 1, "args": args} for args in (told, {}, None)]
    known = {"ph": "i", "name": "[memory]", "ts": 2, "args": told | {"Bytes": 8}}
    assert trace_of(step(1, 0, 9), *events, known).memory["bytes"].tolist() == [8]


def test_an_empty_trace_is_no_fault():
    found = overview(trace_of())
    assert found.wall_s == 0
    assert recommend(found) == []
    assert describe_launches(trace_of()) is None
