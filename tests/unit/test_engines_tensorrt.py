"""Torch-TensorRT, without a GPU: its real package's source, and an engine run against a stand-in.

The stand-in refuses every argument that the real functions do not take, as their source says.
"""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from engine_cases import MODELS, attention, convolutions, mode
from torch import fx, nn
from torch.testing import assert_close

from torchmodes.planning.cases import parse_case
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes import tensorrt as engine_module

ROOT = Path(__file__).parents[2]
CASE = parse_case("inference/cuda/mine/a-mode/fp32-b4")


# --- The package's source ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def source(request) -> Callable[[str], ast.Module]:
    """Return a function that parses a file of torch_tensorrt: installed, or just its wheel."""
    if (spec := find_spec("torch_tensorrt")) and spec.origin:
        folder = Path(spec.origin).parent
        return lambda name: ast.parse((folder / name).read_text(encoding="utf-8"))
    wheel = downloaded(Path(request.config.cache.mkdir("torch_tensorrt")))
    return lambda name: ast.parse(wheel.read(f"torch_tensorrt/{name}"))


def downloaded(folder: Path) -> zipfile.ZipFile:
    """Download the wheel (4 MB), without what it needs, unless an earlier run has."""
    requirement = (ROOT / "requirements-tensorrt.in").read_text().splitlines()[-1]
    version = requirement.partition("==")[2]
    if not (found := list(folder.glob(f"torch_tensorrt-{version}-*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement]
        command += ["--only-binary=:all:", "--platform=manylinux_2_28_x86_64"]
        command += ["--python-version=3.11", f"--dest={folder}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(folder.glob("*.whl"))
        if ended.returncode or not found:
            pytest.skip(f"the wheel of {requirement} cannot be had: {ended.stderr[-200:].strip()}")
    return zipfile.ZipFile(found[0])


def definition(tree: ast.Module, name: str) -> ast.FunctionDef | ast.ClassDef:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return next(node for node in tree.body if isinstance(node, kinds) and node.name == name)


def named_arguments(tree: ast.Module, name: str) -> set[str]:
    """Return the arguments that a function names, without what its ``**kwargs`` swallows."""
    function = definition(tree, name)
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    return {argument.arg for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs]}


def fields(tree: ast.Module, name: str) -> set[str]:
    """Return the fields of a dataclass."""
    return {
        node.target.id
        for node in definition(tree, name).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


ASKED = [
    (mode("tensorrt"), "fp32"),
    (mode("tensorrt", optimization_level=5), "tf32"),
    (mode("tensorrt", half="autocast"), "fp16"),
    (mode("tensorrt", half="autocast", batch_profile={"max": 8}), "bf16"),
]


@pytest.mark.parametrize(("options", "precision"), ASKED)
def test_every_setting_is_one_that_torch_tensorrt_has(source, options, precision):
    settings = set(create_engine(options, precision=precision).settings())
    compile_arguments = named_arguments(source("dynamo/_compiler.py"), "compile")
    assert settings | {"arg_inputs", "kwarg_inputs"} <= compile_arguments
    # Its torch.compile backend drops what is not a field of this class, without a word.
    assert settings <= fields(source("dynamo/_settings.py"), "CompilationSettings")


def test_what_is_called_and_read_is_there(source):
    assert {"module", "file_path", "arg_inputs", "kwarg_inputs", "dynamic_shapes"} <= (
        named_arguments(source("_compile.py"), "save")
    )
    backends = source("dynamo/backend/backends.py")
    assert named_arguments(backends, "torch_tensorrt_backend") == {"gm", "sample_inputs"}
    exported = ast.unparse(source("dynamo/backend/__init__.py"))
    assert "torch_tensorrt_backend" in exported
    written = ast.unparse(definition(source("_Input.py"), "Input"))
    for word in ("min_shape", "opt_shape", "max_shape", "dtype"):
        assert f"kwargs['{word}']" in written
    module = source("dynamo/runtime/_TorchTensorRTModule.py")
    assert "self.serialized_engine = " in ast.unparse(definition(module, "TorchTensorRTModule"))


def test_precisions_are_still_not_an_argument(source):
    """The reason that a module is cast: once this fails, look again at how to ask for fp16."""
    assert "enabled_precisions" not in named_arguments(source("dynamo/_compiler.py"), "compile")
    assert "enabled_precisions" not in fields(source("dynamo/_settings.py"), "CompilationSettings")


def test_the_torch_compile_backend_still_hides_failures_unless_told(source):
    backend = ast.unparse(definition(source("dynamo/backend/backends.py"), "_pretraced_backend"))
    assert "if not settings.pass_through_build_failures" in backend


def test_autocast_is_still_a_pass_of_the_export_path_alone(source):
    """The reason that `half: autocast` is refused with frontend: torch_compile."""
    passes = source("dynamo/lowering/passes/_aten_lowering_pass.py")
    lists = {
        ast.unparse(node.targets[0]): ast.unparse(node.value)
        for node in passes.body
        if isinstance(node, ast.Assign)
    }
    assert "rule_based_autocast" in lists["pre_lowering_pass_list"]
    assert "rule_based_autocast" not in lists["post_lowering_pass_list"]
    assert "pre_export_lowering" not in ast.unparse(source("dynamo/backend/backends.py"))


# --- Against a stand-in -----------------------------------------------------------------------


class TorchTensorRTModule(nn.Module):
    """Stands for what runs an engine: computes its graph in PyTorch."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph, self.serialized_engine = [graph], b"engine"

    def forward(self, *args, **kwargs):
        return self.graph[0](*args, **kwargs)


class Described:
    """Stands for torch_tensorrt.Input."""

    def __init__(self, **given) -> None:
        self.given = given


def wrapped(graph: nn.Module) -> nn.Module:
    outer = nn.Module()
    outer.add_module("_run_on_acc_0", TorchTensorRTModule(graph))
    outer.forward = lambda *args, **kwargs: outer._run_on_acc_0(*args, **kwargs)
    return outer


@pytest.fixture
def stand_in(source, monkeypatch):
    """Put a package in torch_tensorrt's place whose functions take only what the real ones do."""
    calls = []
    compile_arguments = named_arguments(source("dynamo/_compiler.py"), "compile")
    save_arguments = named_arguments(source("_compile.py"), "save")

    def compile_program(program, **given):
        assert given.keys() <= compile_arguments
        calls.append(("compile", program, given))
        return wrapped(program.module())

    def save(module, path, **given):
        assert given.keys() <= save_arguments
        calls.append(("save", module, given))
        Path(path).write_bytes(b"program")

    def torch_tensorrt_backend(graph, inputs, **given):
        calls.append(("backend", graph, given))
        return wrapped(graph)

    package = types.ModuleType("torch_tensorrt")
    package.__version__, package.save, package.Input = "2.14.0", save, Described
    package.dynamo = types.ModuleType("torch_tensorrt.dynamo")
    package.dynamo.compile = compile_program
    package.dynamo.backend = types.ModuleType("torch_tensorrt.dynamo.backend")
    package.dynamo.backend.torch_tensorrt_backend = torch_tensorrt_backend
    for part in (package, package.dynamo, package.dynamo.backend):
        monkeypatch.setitem(sys.modules, part.__name__, part)
    torch._dynamo.reset()
    return calls


def prepared(options, example, *, precision="fp32"):
    engine = create_engine(options, precision=precision)
    with torch.no_grad():
        call = engine.prepare(example.module, example.inputs)
    with engine.context():
        return engine, example.inputs.call(call)


@pytest.mark.parametrize("frontend", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("model", MODELS)
def test_it_runs_what_was_built_and_tells_of_it(stand_in, frontend, model):
    example = MODELS[model]()
    engine, output = prepared(mode("tensorrt", frontend=frontend), example)
    assert_close(output, example.expected)
    facts = engine.stats()
    assert facts["engines"] == facts["graphs"] == 1
    assert facts["engine_bytes"] == len(b"engine")
    assert facts["operators_left_to_pytorch"] == 0
    assert facts["build_s"] >= 0
    assert "no_effect" not in facts


def test_a_build_is_cold_and_fails_aloud(stand_in):
    engine, _ = prepared(mode("tensorrt", frontend="torch_compile"), convolutions())
    (_, _, given) = stand_in[0]
    assert given == {"options": engine.settings()}
    assert Path(given["options"]["timing_cache_path"]).parent == engine.directory
    assert given["options"]["pass_through_build_failures"] is True
    assert given["options"]["disable_tf32"] is True


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_profile_frees_the_batch_and_nothing_else(stand_in, batch):
    options = mode("tensorrt", batch_profile={"min": 1, "max": 32})
    engine, output = prepared(options, attention(batch))
    _, program, given = stand_in[0]
    (free,) = program.range_constraints.values()
    assert (free.lower, free.upper) in [(1, 32), (2, 32)]  # 2: PyTorch treats 1 apart
    described = given["kwarg_inputs"]["input_ids"].given
    best = max(batch, 2)
    assert described["min_shape"] == (1, 6)
    assert described["opt_shape"] == (best, 6)
    assert described["max_shape"] == (32, 6)
    assert described["dtype"] == torch.int64
    assert engine.stats()["batch_profile"] == {"min": 1, "max": 32, "opt": best}
    assert output["logits"].shape == (batch, 6, 50)


def test_the_built_program_is_saved_with_the_inputs_it_was_built_for(stand_in, tmp_path):
    engine, _ = prepared(mode("tensorrt", batch_profile={"max": 8}), convolutions(batch=2))
    (path,) = engine.ship(tmp_path)
    assert path.read_bytes() == b"program"
    _, _, given = stand_in[-1]
    assert given["arg_inputs"][0].shape == (2, 3, 8, 8)
    assert given["dynamic_shapes"]["x"][0].max == 8


def test_what_torch_compile_built_cannot_be_saved(stand_in, tmp_path):
    engine, _ = prepared(mode("tensorrt", frontend="torch_compile"), convolutions())
    assert engine.ship(tmp_path) == []


def test_without_an_engine_it_had_no_effect(stand_in, monkeypatch):
    def leave_it(program, **given):
        return program.module()

    monkeypatch.setattr(sys.modules["torch_tensorrt"].dynamo, "compile", leave_it)
    engine, _ = prepared(mode("tensorrt"), convolutions())
    facts = engine.stats()
    assert facts["engines"] == 0
    assert facts["operators_left_to_pytorch"] >= 5
    assert facts["no_effect"] == "Torch-TensorRT built no engine: PyTorch ran every operator"


def test_operators_left_are_counted_without_those_that_only_unpack():
    graph = fx.symbolic_trace(lambda x: torch.relu(x).sum((0, 1))[0])
    assert engine_module.count_left(graph) == 1, "relu; sum is a method and [0] unpacks"


# --- What it refuses --------------------------------------------------------------------------


def refusal(options, **changed):
    return create_engine(options).supports(dataclasses.replace(CASE, **changed), family="user")


@pytest.mark.parametrize(
    ("options", "changed", "reason", "remedy"),
    [
        (
            mode("tensorrt"),
            {"device": "cpu"},
            "TensorRT runs on NVIDIA GPUs, not on cpu",
            "run the case on cuda",
        ),
        (
            mode("tensorrt", frontend="torch_compile", half="autocast"),
            {"precision": "fp16"},
            "Torch-TensorRT's torch.compile backend ignores autocast",
            "use half: weights, or frontend: dynamo",
        ),
        (
            mode("tensorrt", batch_profile={"min": 8, "max": 32}),
            {"batch_size": 4},
            "batch_profile ends at 8 and 32: the engine would not accept a batch of 4",
            "widen batch_profile",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_reason_and_remedy(options, changed, reason, remedy):
    refused = refusal(options, **changed)
    assert (refused.reason, refused.remedy) == (reason, remedy)


@pytest.mark.skipif(find_spec("torch_tensorrt") is not None, reason="it is installed here")
def test_where_it_is_not_installed_the_remedy_says_how():
    refused = refusal(mode("tensorrt"))
    assert refused.reason == "torch_tensorrt is not installed"
    assert refused.remedy == engine_module.INSTALL
    assert (ROOT / "docs/tensorrt.md").is_file()


def test_a_package_without_its_libraries_is_refused_though_it_raises_a_plain_exception(
    tmp_path, monkeypatch
):
    package = tmp_path / "torch_tensorrt"
    package.mkdir()
    (package / "__init__.py").write_text("raise Exception('no libnvinfer.so.11\\nand so on')")
    monkeypatch.syspath_prepend(tmp_path)
    refused = refusal(mode("tensorrt"))
    assert refused.reason == ("torch_tensorrt cannot be imported (Exception: no libnvinfer.so.11)")
