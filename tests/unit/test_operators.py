"""The custom operators: torch.library.opcheck, values against ATen, autograd, traces, the build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchmodes.processes.jobs import operators_missing
from torchmodes.workloads.operators.build import (
    BuildFailed,
    MissingCompiler,
    build_operators,
    build_or_tell,
)
from torchmodes.workloads.operators.compile import decide_cuda, toolkit_version
from torchmodes.workloads.operators.load import load_operators

ATEN = {"add": torch.add, "multiply": torch.mul}
OPERATORS = sorted(ATEN)
FLOATING = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
BROADCASTS = [
    ((3, 4), (3, 4)),
    ((6, 5), (5,)),
    ((6, 1), (1, 5)),
    ((2, 3, 4), (3, 1)),
    ((), (4,)),
    ((0, 3), (3,)),
]

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("operators_library")


def operator(name: str) -> torch._ops.OpOverload:
    return getattr(torch.ops.torchmodes, name).default


def operands(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    dtype: torch.dtype = torch.float32,
    *,
    requires_grad: bool = False,
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator)
        .to(dtype)
        .requires_grad_(requires_grad)
        for shape in shapes
    ]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name, dtype):
    for shapes in BROADCASTS:
        for requires_grad in (False, True):
            torch.library.opcheck(
                operator(name), tuple(operands(shapes, dtype, requires_grad=requires_grad))
            )


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_gives_what_aten_gives(name, shapes, dtype):
    a, b = operands(shapes, dtype)
    torch.testing.assert_close(operator(name)(a, b), ATEN[name](a, b), rtol=0, atol=0)


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.t(),
        lambda x: x[::2, 1::3],
        lambda x: x.flip(0).t()[1:],
        lambda x: x[:, :1].expand(-1, 7),
        lambda x: x[:1].expand(9, -1),
    ],
    ids=["transposed", "strided", "offset", "expanded-columns", "expanded-rows"],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_operands_need_not_be_contiguous(name, layout):
    a = layout(operands(((40, 60), ()))[0])
    b = operands((tuple(a.shape), ()))[0]
    for left, right in ((a, b), (b, a), (a, a)):
        expected = ATEN[name](left, right)
        actual = operator(name)(left, right)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        assert actual.stride() == expected.stride()


@pytest.mark.parametrize("name", OPERATORS)
def test_large_operands_are_spread_over_threads(name):
    a, b = operands(((513, 257), (257,)))
    torch.testing.assert_close(operator(name)(a, b), ATEN[name](a, b), rtol=0, atol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_types_are_promoted_as_aten_does(name):
    a = torch.randn(3, dtype=torch.bfloat16)
    for b in (torch.randn(3), torch.tensor(2.5, dtype=torch.float64), torch.arange(3)):
        torch.testing.assert_close(operator(name)(a, b), ATEN[name](a, b), rtol=0, atol=0)


@pytest.mark.parametrize("name", OPERATORS)
def test_integers_and_incompatible_shapes_are_refused(name):
    with pytest.raises(ValueError, match="take floating-point tensors"):
        operator(name)(torch.arange(3), torch.arange(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        operator(name)(torch.randn(3), torch.randn(4))


@pytest.mark.parametrize("shapes", BROADCASTS[:5], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_of_first_and_second_order(name, shapes):
    inputs = operands(shapes, torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator(name), inputs)
    assert torch.autograd.gradgradcheck(operator(name), inputs)


@pytest.mark.parametrize("name", OPERATORS)
def test_only_the_gradient_asked_for_is_computed(name):
    a, bias = operands(((6, 5), (5,)))
    operator(name)(a, bias.requires_grad_()).sum().backward()
    assert a.grad is None
    expected = {"add": torch.full((5,), 6.0), "multiply": a.sum(0)}[name]
    torch.testing.assert_close(bias.grad, expected)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_torch_compile_captures_one_whole_graph(dynamic):
    def layer(x, weight, bias):
        pre = torch.ops.torchmodes.add(x @ weight, bias)
        return torch.ops.torchmodes.multiply(pre, (pre > 0).type_as(pre))

    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (4, 7):
        given = [torch.randn(rows, 3), torch.randn(3, 5), torch.randn(5)]
        eager = [value.clone().requires_grad_() for value in given]
        other = [value.clone().requires_grad_() for value in given]
        expected, actual = layer(*eager), compiled(*other)
        torch.testing.assert_close(actual, expected)
        expected.square().sum().backward()
        actual.square().sum().backward()
        for mine, theirs in zip(other, eager, strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)


def test_inductor_runs_them():
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda a, b: torch.ops.torchmodes.multiply(torch.ops.torchmodes.add(a, b), b),
        fullgraph=True,
    )
    a, b = operands(((6, 5), (5,)))
    torch.testing.assert_close(compiled(a, b), (a + b) * b)


def test_traces_name_operator_and_kernel(tmp_path):
    a, b = operands(((6, 5), (5,)))
    with torch.profiler.profile() as profiler:
        torch.ops.torchmodes.multiply(torch.ops.torchmodes.add(a, b), b)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events]
    for name in ("add", "add_kernel", "multiply", "multiply_kernel"):
        assert names.count(f"torchmodes::{name}") == 1


def test_loading_again_changes_nothing(operators_library):
    before = torch.ops.torchmodes.add.default
    load_operators(operators_library)
    load_operators(Path("another.so"))
    assert torch.ops.torchmodes.add.default is before


def test_loading_a_missing_library_says_how_to_build_it(tmp_path):
    code = (
        "from pathlib import Path; from torchmodes.workloads.operators.load import load_operators; "
        "load_operators(Path('results/operators/torchmodes_ops.so'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert told.returncode == 1
    assert "snakemake --cores 4 results/operators/torchmodes_ops.so" in told.stderr


def test_a_missing_compiler_is_told_before_anything(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingCompiler, match=r"no-such-compiler.*apt-get install g\+\+"):
        build_operators(output=tmp_path / "ops.so", build_directory=tmp_path / "build")
    assert not list(tmp_path.iterdir())


def test_a_failing_build_ends_in_the_compilers_own_words(monkeypatch, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text(
        "#!/bin/sh\n"
        'for word; do [ "$word" = -c ] && echo "error: out of ideas" >&2 && exit 1; done\n'
        'exec c++ "$@"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BuildFailed, match="error: out of ideas"):
        build_operators(output=tmp_path / "ops.so", build_directory=tmp_path / "build")
    assert not (tmp_path / "ops.so").exists()


@pytest.mark.parametrize(
    ("change", "compiled", "reason"),
    [
        ({}, True, "nvcc 13.0"),
        ({"gpu": False, "architectures": "8.0;9.0+PTX"}, True, "nvcc 13.0"),
        ({"gpu": False}, False, "no GPU is visible"),
        ({"torch_cuda": None}, False, "without CUDA"),
        ({"toolkit_cuda": None}, False, "no CUDA toolkit"),
        ({"toolkit_cuda": "12.9"}, False, "nvcc is CUDA 12.9, PyTorch has CUDA 13.0"),
    ],
)
def test_cuda_kernels_are_compiled_where_they_can_run(change, compiled, reason):
    machine = {"torch_cuda": "13.0", "toolkit_cuda": "13.0", "gpu": True, "architectures": None}
    decision = decide_cuda(**machine | change)
    assert decision.compiled is compiled
    assert reason in decision.reason


def test_a_toolkit_is_nvcc_and_its_headers(tmp_path):
    assert toolkit_version(None) is None
    (tmp_path / "bin").mkdir()
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    assert toolkit_version(str(tmp_path)) is None
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "cuda_runtime.h").touch()
    assert toolkit_version(str(tmp_path)) == "13.0"


def test_a_compiler_whose_name_is_no_text_is_told_all_the_same(tmp_path, monkeypatch):
    def missing(**_):
        raise MissingCompiler("there is no \udcff")

    monkeypatch.setattr("torchmodes.workloads.operators.build.build_operators", missing)
    build_or_tell(library=tmp_path / "operators.so", report=tmp_path / "build.json")
    found = operators_missing(tmp_path / "operators.so")
    assert found["reason"] == r"there is no \udcff"
