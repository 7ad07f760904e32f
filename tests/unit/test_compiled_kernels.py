"""Kernels of generated code: found in a trace, told what they compute and of which module."""

from __future__ import annotations

import pytest
from engine_cases import mode
from trace_factory import event, operator, step, trace_of

from torchmodes.config.modes import read_mode
from torchmodes.config.run import Profile
from torchmodes.profiling.compiled import (
    BACKWARD,
    REGION,
    Site,
    Source,
    fused_table,
    kernels_of_steps,
    module_at,
    name_in_trace,
)

MODULES = ("", "blocks.0", "blocks.0.lin", "blocks.0.act", "blocks.1", "blocks.1.lin", "head")


def site(kernel: str, *sources: tuple[str, str | None], backward: bool = False) -> Site:
    region = f"{REGION}0/0"
    return Site(kernel, region, backward, tuple(Source(*source) for source in sources))


SITES = [
    site("aten::addmm", ("aten::addmm", "L['self'].blocks[0].lin")),
    site("cpp_fused_relu_0", ("aten::relu", "L['self'].blocks[0].act"), ("aten::t", None)),
    site("aten::addmm", ("aten::addmm", "L['self'].blocks[1].lin")),
    site(
        "cpp_fused_add_1",
        ("aten::add", "L['self'].blocks[1]"),
        ("aten::relu", "L['self'].blocks[0].act"),
    ),
    site("cpp_fused_sum_0", ("aten::sum", "L['self'].head"), backward=True),
]


def compiled_step(begin: float) -> list:
    """A step of 100 microseconds, whose code calls each kernel of `SITES` in turn."""
    return [
        step(round(begin), begin, begin + 100),
        event("cpu_op", f"{REGION}0/0", begin + 5, begin + 70),
        event("user_annotation", "## Call CompiledFxGraph None ##", begin + 10, begin + 65),
        operator("aten::addmm", begin + 10, begin + 20),
        operator("aten::addmm", begin + 11, begin + 15),  # what it calls is no call of the code
        operator("graph_0_cpp_fused_relu_0", begin + 20, begin + 24),
        operator("aten::empty", begin + 24, begin + 25),
        operator("aten::addmm", begin + 30, begin + 50),
        operator("graph_0_cpp_fused_add_1", begin + 50, begin + 56),
        event("cpu_op", BACKWARD, begin + 75, begin + 95),
        operator("graph_0_cpp_fused_sum_0", begin + 80, begin + 90),
    ]


def test_the_nth_call_of_a_kernel_in_each_step_is_the_nth_in_the_code():
    trace = trace_of(*compiled_step(0), *compiled_step(200), operator("aten::addmm", 400, 410))
    one, two = kernels_of_steps(trace, SITES, MODULES)
    assert [call.layer for call in one] == [
        "blocks.0.lin",
        "blocks.0.act",
        "blocks.1.lin",
        "blocks",
        None,
    ]
    assert [call.layer for call in two] == [call.layer for call in one]
    assert [round(1e6 * call.seconds) for call in one] == [10, 4, 20, 6, 10]
    assert round(1e6 * two[0].start_s) == 10


def test_an_operator_outside_of_compiled_code_is_none_of_its_kernels():
    trace = trace_of(step(0, 0, 50), operator("aten::addmm", 10, 20))
    assert kernels_of_steps(trace, SITES, MODULES) == [()]


def test_the_table_tells_what_each_kernel_computes_per_step():
    trace = trace_of(*compiled_step(0), *compiled_step(200))
    table = fused_table(kernels_of_steps(trace, SITES, MODULES))
    assert table["kernel"].tolist() == [
        *("aten::addmm", "graph_0_cpp_fused_sum_0", "graph_0_cpp_fused_add_1"),
        "graph_0_cpp_fused_relu_0",
    ]
    rows = table.set_index("kernel")
    assert rows.loc["graph_0_cpp_fused_add_1", "operators"] == "aten::add, aten::relu"
    assert rows.loc["aten::addmm", "calls"] == 2
    assert rows.loc["aten::addmm", "total_s"] == pytest.approx(30e-6)


@pytest.mark.parametrize(
    ("called", "traced"),
    [
        ("cpp_fused_relu_0", "cpp_fused_relu_0"),
        ("extern_kernels.mm", "aten::mm"),
        ("extern_kernels.bias_addmm", "aten::addmm"),
        ("torch.ops.mkldnn._linear_pointwise.default", "mkldnn::_linear_pointwise"),
    ],
)
def test_generated_code_calls_operators_by_other_names_than_traces(called, traced):
    assert name_in_trace(called) == traced


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("L['self'].blocks[0].lin", "blocks.0.lin"),
        ("L['self']._modules['blocks']._modules['1']", "blocks.1"),
        ("module.head", "head"),
        ("L['self']", ""),
        ("L['fn'].somewhere.else", ""),
    ],
)
def test_a_path_leads_to_a_module_of_the_model(path, module):
    assert module_at(path, MODULES) == module


@pytest.mark.parametrize(
    ("asked", "engine", "listed", "named"),
    [
        ("picks", "compile", False, True),
        ("picks", "compile", True, False),
        ("picks", "eager", False, False),
        (True, "compile", True, True),
        (True, "eager", True, False),
        (False, "compile", False, False),
    ],
)
def test_kernels_are_named_of_compiled_picks_or_of_all_compiled_modes(asked, engine, listed, named):
    schedule = Profile(compiled_kernels=asked).schedule(read_mode(mode(engine)), listed=listed)
    assert schedule["compiled_kernels"] is named
