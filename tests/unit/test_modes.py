"""Modes: every engine computes what eager computes, tells what it did, and says what it cannot."""

from __future__ import annotations

import ast
import csv
import dataclasses
import importlib
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils import cpp_extension

from torchmodes.config import modes as config
from torchmodes.planning.cases import parse_case
from torchmodes.workloads.models import build_model
from torchmodes.workloads.modes import create_engine, engine_module, precision
from torchmodes.workloads.structures import Inputs
from torchmodes.workloads.training.step import make_optimizer, make_step

INFERENCE = parse_case("inference/cpu/house_price/any/fp32-b8")
TRAINING = parse_case("training/cpu/house_price/any/fp32-b8")
MODES = {
    "eager": config.EagerMode(engine="eager"),
    "aot_eager": config.CompileMode(engine="compile", backend="aot_eager"),
    "aot_eager-step": config.CompileMode(engine="compile", backend="aot_eager", scope="step"),
    "fx": config.FxMode(engine="fx"),
    "script": config.TorchScriptMode(engine="torchscript", method="script"),
    "trace": config.TorchScriptMode(engine="torchscript", method="trace"),
}
INDUCTOR = config.CompileMode(engine="compile")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(autouse=True)
def fresh_compiler():
    """Give each test the state that a process of its own has."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def engine_of(name, **options):
    return create_engine(MODES[name].model_copy(update=options).model_dump())


def mlp(batch_size=8):
    spec = {"family": "mlp", "hidden": [16, 16]}
    return build_model(spec, seed=42, batch_size=batch_size, device="cpu", features=5)


@pytest.mark.parametrize("name", config.ENGINES)
def test_every_engine_of_the_configuration_exists(name):
    module = importlib.import_module(engine_module(name))
    assert getattr(module, config.engine_class(name)).precisions


# --- The same results as eager ---------------------------------------------------------------


@every_mode
def test_a_forward_pass_equals_eager(mode):
    built = mlp()
    expected = built.inputs.call(built.module)
    prepared = engine_of(mode).prepare(built.module, built.inputs)
    assert_close(built.inputs.call(prepared), expected)


def test_inductor_equals_eager():
    engine = create_engine(INDUCTOR.model_dump())
    if refused := engine.supports(INFERENCE, family="mlp"):
        pytest.skip(refused.reason)
    built = mlp()
    expected = built.inputs.call(built.module)
    prepared = engine.prepare(built.module, built.inputs)
    assert_close(built.inputs.call(prepared), expected)
    assert engine.stats()["graphs"] == 1


def batches(steps):
    random = torch.Generator().manual_seed(0)
    rows = [torch.randn(8, 5, generator=random) for _ in range(steps)]
    return [(x, x.sum(dim=1, keepdim=True)) for x in rows]


def train(mode, *, steps=12):
    """Train the house-price model in a mode; return the losses, the module and the engine."""
    module = mlp().module.train()
    optimizer = make_optimizer(module, learning_rate=0.01)
    engine = engine_of(mode)
    pairs = batches(steps)
    step = engine.prepare_step(module, pairs[0], lambda model: make_step(model, optimizer))
    return torch.stack([step(x, y) for x, y in pairs]), module, engine


@pytest.fixture(scope="module")
def textbook():
    """Return losses and weights of the same training, written out."""
    module = mlp().module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for x, y in batches(12):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), module.state_dict()


@every_mode
def test_a_training_run_has_the_losses_and_weights_of_the_textbook(mode, textbook):
    expected, weights = textbook
    found, module, _ = train(mode)
    assert_close(found, expected, rtol=1e-5, atol=0)
    assert_close(module.state_dict(), weights, rtol=1e-4, atol=1e-6)
    assert found[-1] < found[0] / 2, "it learns"
    assert not found.requires_grad


def test_preparing_a_step_takes_none():
    module = mlp().module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for mode in MODES:
        optimizer = make_optimizer(module, learning_rate=0.01)
        batch = (torch.randn(8, 5), torch.randn(8, 1))
        engine_of(mode).prepare_step(module, batch, lambda model, o=optimizer: make_step(model, o))
    assert_close(module.state_dict(), before, rtol=0, atol=0)


# --- What they tell --------------------------------------------------------------------------


def run(name, module, *args, **options):
    engine = engine_of(name, **options)
    prepared = engine.prepare(module, Inputs(args))
    prepared(*args)
    return engine, prepared


def test_eager_has_nothing_to_tell(tmp_path):
    engine, _ = run("eager", nn.Linear(2, 2), torch.ones(1, 2))
    assert engine.stats() == {}
    assert engine.export(tmp_path) == []


def test_compile_tells_its_graphs():
    engine, _ = run("aot_eager", nn.Linear(2, 2), torch.ones(1, 2))
    assert engine.stats() == {
        "graphs": 1,
        "graph_breaks": {},
        "recompiles": 0,
        "cudagraph_skips": 0,
    }


class Prints(nn.Module):
    def forward(self, x):
        y = x + 1
        print("a side effect that no graph holds")
        return y * 2


class Branches(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x * 2


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Prints(), "builtin operator `print`"), (Branches(), "depends on the data of a tensor")],
)
def test_compile_tells_its_graph_breaks_and_their_reasons(module, reason):
    engine, _ = run("aot_eager", module, torch.ones(2))
    facts = engine.stats()
    assert facts["graphs"] == 2
    [(told, count)] = facts["graph_breaks"].items()
    assert reason in told
    assert count == 1


def test_compile_tells_its_recompiles():
    engine, compiled = run("aot_eager", nn.Linear(2, 2), torch.ones(3, 2), dynamic=False)
    for rows in (4, 5):
        compiled(torch.ones(rows, 2))
    assert engine.stats()["recompiles"] == 2


def test_compile_that_captured_nothing_is_told_to_have_no_effect():
    traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    engine, _ = run("aot_eager", traced, torch.ones(1, 2))
    assert engine.stats()["graphs"] == 0
    assert "captured no graph" in engine.stats()["no_effect"]


def test_a_whole_step_breaks_where_autograd_begins():
    *_, engine = train("aot_eager-step", steps=2)
    facts = engine.stats()
    assert facts["graphs"] > 1
    assert any("backward" in reason for reason in facts["graph_breaks"])


def test_fx_counts_its_nodes():
    built = mlp()
    engine, traced = run("fx", built.module, *built.inputs.args)
    layers = 2 * 2 + 1  # two hidden ones with their ReLU, and the last
    assert engine.stats() == {"nodes_traced": layers + 2, "nodes": layers + 2}
    assert len(traced.graph.nodes) == layers + 2


@pytest.mark.parametrize("mode", ["script", "trace"])
def test_torchscript_counts_its_nodes(mode):
    built = mlp()
    engine, _ = run(mode, built.module, *built.inputs.args)
    assert engine.stats()["graph_nodes"] >= 5


# --- What they export ------------------------------------------------------------------------


def exported(mode, folder):
    _, module, engine = train(mode, steps=2)
    names = engine.export(folder)
    assert {path.name for path in folder.iterdir()} == set(names)
    assert all((folder / name).stat().st_size for name in names)
    return module, engine


def test_compile_exports_counters_graphs_and_breaks(tmp_path):
    _, engine = exported("aot_eager", tmp_path)
    counters = json.loads((tmp_path / "counters.json").read_text())
    assert counters["graphs"] == 1
    assert counters.keys() == engine.stats().keys()
    assert "linear" in (tmp_path / "graph.txt").read_text()
    assert "Graph Break Count: 0" in (tmp_path / "graph_breaks.txt").read_text()


def test_compile_of_a_whole_step_exports_why_it_broke(tmp_path):
    exported("aot_eager-step", tmp_path)
    assert "backward" in (tmp_path / "graph_breaks.txt").read_text()


def test_fx_exports_graph_table_and_code(tmp_path):
    _, engine = exported("fx", tmp_path)
    with (tmp_path / "graph.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == engine.stats()["nodes"]
    assert {row["opcode"] for row in rows} == {"placeholder", "call_module", "output"}
    ast.parse((tmp_path / "code.py").read_text())


@pytest.mark.parametrize("mode", ["script", "trace"])
def test_torchscript_exports_an_archive_that_needs_torch_alone(mode, tmp_path):
    module, _ = exported(mode, tmp_path)
    x = torch.randn(3, 5)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, importlib.util, torch;"
        "assert importlib.util.find_spec('torchmodes') is None;"
        "x = torch.load(sys.argv[1] + '/x.pt');"
        "torch.save(torch.jit.load(sys.argv[1] + '/model.pt')(x), sys.argv[1] + '/y.pt')"
    )
    subprocess.run([sys.executable, "-I", "-c", code, tmp_path], cwd=tmp_path, check=True)
    assert_close(torch.load(tmp_path / "y.pt"), module.eval()(x).detach())
    assert "def forward" in (tmp_path / "code.py").read_text()
    assert "aten::linear" in (tmp_path / "graph.txt").read_text()


# --- The user's own passes and engines -------------------------------------------------------

USER_FILE = """
import operator

def double(graph_module):
    output = next(iter(reversed(graph_module.graph.nodes)))
    with graph_module.graph.inserting_before(output):
        twice = graph_module.graph.call_function(operator.mul, (output.args[0], 2))
    output.args = (twice,)
    return graph_module

def prepare(model, inputs, factor=1):
    def call(*args, **kwargs):
        return factor * model(*args, **kwargs)

    call.example = inputs
    return call

def nothing(model, inputs):
    return "nothing to call"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(USER_FILE)


def user_engine(factory, **options):
    mode = config.UserMode(engine="user", factory=f"mine.py:{factory}", options=options)
    return create_engine(mode.model_dump())


def test_fx_applies_a_users_pass(mine):
    module, x = nn.Linear(2, 2), torch.ones(1, 2)
    engine, prepared = run("fx", module, x, passes=["mine.py:double"])
    assert_close(prepared(x), 2 * module(x))
    assert engine.stats() == {"nodes_traced": 5, "nodes": 6}


def test_a_users_engine_gets_the_inputs_and_its_options(mine):
    module, x = nn.Linear(2, 2), torch.ones(1, 2)
    prepare = user_engine("prepare", factor=3).prepare
    for args, kwargs, example in (((x,), {}, (x,)), ((), {"input": x}, {"input": x})):
        prepared = prepare(module, Inputs(args, kwargs))
        assert prepared.example == example
        assert_close(prepared(*args, **kwargs), 3 * module(x))


def test_a_users_engine_that_returns_nothing_to_call_is_told(mine):
    with pytest.raises(ValueError, match=r"mine\.py:nothing returned str, not a callable"):
        user_engine("nothing").prepare(nn.Linear(2, 2), Inputs((torch.ones(1, 2),)))


def test_only_modes_with_the_pass_need_the_custom_operators():
    with_pass = config.FxMode(engine="fx", passes=["mine.py:double", "custom-operators"])
    assert with_pass.uses_custom_operators()
    assert not any(mode.uses_custom_operators() for mode in MODES.values())


def test_the_pass_is_refused_without_the_custom_operators():
    with pytest.raises(ValueError, match="needs the compiled operators"):
        run("fx", nn.Linear(2, 2), torch.ones(1, 2), passes=["custom-operators"])


# --- What they refuse ------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("case", [INFERENCE, TRAINING], ids=lambda case: case.task)
def test_what_works_is_not_refused(mode, case):
    assert engine_of(mode).supports(case, family="mlp") is None


@pytest.mark.parametrize(
    ("options", "reason", "remedy"),
    [
        ({"backend": "indctor"}, "no backend 'indctor'", "did you mean 'inductor'?"),
        ({"backend": "cudagraphs"}, "CUDA graphs do not exist on cpu", "cuda"),
        (
            {"backend": "inductor", "mode": "reduce-overhead"},
            "CUDA graphs do not exist on cpu",
            "mode: default",
        ),
        ({"backend": "aot_eager", "mode": "max-autotune"}, "belongs to the backend inductor", ""),
    ],
    ids=["unknown backend", "cudagraphs", "reduce-overhead", "mode of another backend"],
)
def test_compile_refuses_what_pytorch_would_skip_or_cannot_do(options, reason, remedy):
    refused = engine_of("aot_eager", **options).supports(INFERENCE, family="mlp")
    assert reason in refused.reason
    assert remedy in refused.remedy


def test_cuda_graphs_are_not_refused_on_cuda():
    case = dataclasses.replace(INFERENCE, device="cuda")
    for options in ({"backend": "cudagraphs"}, {"backend": "inductor", "mode": "reduce-overhead"}):
        assert engine_of("aot_eager", **options).supports(case, family="mlp") is None


@torch._inductor.config.patch({"cpp.cxx": (None, "no-compiler")})
def test_inductor_on_a_cpu_needs_a_compiler():
    engine = create_engine(INDUCTOR.model_dump())
    refused = engine.supports(INFERENCE, family="mlp")
    assert "no C++ compiler" in refused.reason
    assert "g++" in refused.remedy
    on_cuda = dataclasses.replace(INFERENCE, device="cuda")
    assert engine.supports(on_cuda, family="mlp") is None, "Triton compiles there, in C"
    assert engine_of("aot_eager").supports(INFERENCE, family="mlp") is None


def test_inductor_on_cuda_needs_what_triton_compiles_with(monkeypatch):
    engine = create_engine(INDUCTOR.model_dump())
    on_cuda = dataclasses.replace(INFERENCE, device="cuda")
    monkeypatch.setenv("CC", "no-compiler")
    assert "no C compiler" in engine.supports(on_cuda, family="mlp").reason
    monkeypatch.setenv("CC", sys.executable)  # anything that is there
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "/nowhere")
    refused = engine.supports(on_cuda, family="mlp")
    assert "Python's headers" in refused.reason
    assert "python3-dev" in refused.remedy


def test_aotinductor_on_cuda_needs_the_toolkits_headers(monkeypatch, tmp_path):
    engine = create_engine(config.AotInductorMode(engine="aotinductor").model_dump())
    on_cuda = dataclasses.replace(INFERENCE, device="cuda")
    for home in (None, str(tmp_path)):  # a runtime image has the folder, without headers
        monkeypatch.setattr(cpp_extension, "CUDA_HOME", home)
        assert "CUDA_HOME" in engine.supports(on_cuda, family="mlp").remedy
        assert engine.supports(INFERENCE, family="mlp") is None
    (tmp_path / "include/crt").mkdir(parents=True)
    for header in ("cuda.h", "cuda_runtime_api.h", "crt/host_defines.h"):
        (tmp_path / "include" / header).touch()
    assert engine.supports(on_cuda, family="mlp") is None


# --- Precisions ------------------------------------------------------------------------------


def refusal(path):
    return precision.unsupported_precision(parse_case(path))


@pytest.mark.parametrize("task", ["training", "inference"])
def test_fp32_runs_anywhere_and_bf16_on_what_has_instructions_for_it(monkeypatch, task):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for name in ("fp32", "bf16"):
        assert refusal(f"{task}/cpu/m/eager/{name}-b1") is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert refusal(f"{task}/cpu/m/eager/fp32-b1") is None


@pytest.mark.parametrize("flag", ["avx512_fp16", "amx_fp16"])
def test_fp16_runs_on_a_cpu_that_computes_it_and_nowhere_else(monkeypatch, flag):
    path = "inference/cpu/m/eager/fp16-b1"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    assert refusal(path) is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, flag: False})
    assert "no fp16 arithmetic" in refusal(path).reason
    assert refusal("inference/cuda/m/eager/fp16-b1") is None


def test_fp16_is_trained_where_it_is_computed(monkeypatch):
    assert refusal("training/cuda/m/eager/fp16-b1") is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_fp16": False})
    assert "no fp16 arithmetic" in refusal("training/cpu/m/eager/fp16-b1").reason


def test_tf32_and_bf16_are_for_the_tensor_cores_that_have_them(monkeypatch):
    assert "cpu has none" in refusal("inference/cpu/m/eager/tf32-b1").reason
    assert "mps has none" in refusal("inference/mps/m/eager/tf32-b1").reason
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    for name in ("tf32", "bf16"):
        assert "Ampere" in refusal(f"inference/cuda/m/eager/{name}-b1").reason
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    for name in ("tf32", "bf16"):
        assert refusal(f"inference/cuda/m/eager/{name}-b1") is None


def test_int8_needs_a_mode_that_quantises():
    assert "'eager' does not quantise" in refusal("inference/cpu/m/eager/int8-b1").reason


def test_half_precision_casts_weights_and_floating_inputs_alone():
    tokens, scale = torch.tensor([1, 2]), torch.ones(2)
    given = Inputs((tokens,), {"scale": scale})
    module, inputs = precision.cast(nn.Linear(2, 2), given, "bf16")
    assert module.weight.dtype == torch.bfloat16
    assert inputs.args[0].dtype == torch.int64
    assert inputs.kwargs["scale"].dtype == torch.bfloat16
    module, inputs = precision.cast(nn.Linear(2, 2), Inputs.of(scale), "fp32")
    assert module.weight.dtype == inputs.args[0].dtype == torch.float32


def test_training_in_half_precision_is_autocast():
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with precision.autocast(parse_case(f"training/cpu/m/eager/{name}-b1")):
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    with precision.autocast(parse_case("training/cpu/m/eager/fp32-b1")):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def tf32_allowed():
    return {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}


def test_tf32_is_allowed_inside_and_forbidden_again_even_after_a_fault():
    precision.allow_tf32(allowed=False)
    with precision.in_precision("tf32"):
        assert tf32_allowed() == {True}
    with precision.in_precision("fp32"):
        assert tf32_allowed() == {False}
    with pytest.raises(RuntimeError, match="inside"), precision.in_precision("tf32"):
        raise RuntimeError("inside")
    assert tf32_allowed() == {False}
