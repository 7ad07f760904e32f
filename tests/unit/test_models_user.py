"""The user's own model: what its inputs may be, and what is told where they are not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.base import in_mode

MINE = """
import collections
import random

import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
    def forward(self, x, shift=0):
        return self.linear(x) + shift

class Record:
    pass

class Keeps(Net):
    def train(self, mode=True):
        super().train(mode)  # and returns nothing, as many write it

def keeps(): return Keeps()
def exported(): return torch.export.export(Net(), (torch.rand(8, 3),)).module()
def compiled(): return torch.compile(Net())
def compiled_in_place():
    net = Net()
    net.compile()
    return net
def with_a_compiled_part(): return nn.Sequential(Net(), compiled())
def shapes(): return Net().to("meta")
def shape(n): return torch.rand(n, 3, device="meta")
def program(): return torch.export.export(Net(), (torch.rand(8, 3),))
class Rows(torch.nn.Linear):
    def forward(self, record):
        assert isinstance(record, Record)
        return super().forward(record.rows)
def of_records(): return Rows(3, 1)
def records(n):
    record = Record()
    record.rows = torch.rand(n, 3)
    return record, torch.rand(n)

def build():
    return Net()

def tensor(n): return torch.rand(n, 3)
def pair(n): return torch.rand(n, 3), 1.5
def keywords(n): return {"x": torch.rand(n, 3), "shift": torch.ones(1)}
def user_dict(n): return collections.UserDict(keywords(n))
def time_first(n): return torch.rand(5, n, 3)
@torch.inference_mode()
def inferred(n): return torch.rand(n, 3)
def expanded(n): return torch.arange(3.0).expand(n, 3)
def twice(n): return (torch.rand(n, 3),) * 2
def numpys(n): return torch.tensor(np.random.rand(n, 3) + random.random())

def nothing(n): return None
def record(n): return Record()
def no_tensor(n): return {"x": [1.0] * n}
def empty(n): return ()
def nested(n): return torch.nested.nested_tensor([torch.rand(2, 3)] * n)
def numbered(n): return {0: torch.rand(n, 3)}
def fixed(n): return {"x": torch.rand(4, 3)}
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)

    def of(inputs):
        return {
            "family": "user",
            "factory": "mine.py:build",
            "inputs": f"mine.py:{inputs}",
            "options": {},
            "item": "row",
        }

    return of


def test_inputs_are_in_memory_of_their_own_and_others_can_be_copied_into_them(spec):
    (rows,) = build_model(spec("expanded"), seed=1, batch_size=4, device="cpu").inputs.tensors()
    rows.copy_(torch.ones(4, 3))
    rows[0] = 2.0
    assert rows.sum() == 3 * 2 + 9, "a row is no other one"


def test_inputs_that_were_made_in_inference_mode_can_be_copied_into_as_well(spec):
    (rows,) = build_model(spec("inferred"), seed=1, batch_size=4, device="cpu").inputs.tensors()
    rows.copy_(torch.ones(4, 3))
    assert rows.sum() == 12


@pytest.mark.parametrize("factory", ["compiled", "compiled_in_place", "with_a_compiled_part"])
def test_what_torch_compile_was_given_is_no_eager_baseline(spec, factory):
    with pytest.raises(ValueError, match="return the model as it is, for modes compile it"):
        build(spec("tensor") | {"factory": f"mine.py:{factory}"})


@pytest.mark.parametrize(
    "changes", [{"factory": "mine.py:shapes"}, {"inputs": "mine.py:shape"}], ids=["model", "inputs"]
)
def test_tensors_without_values_are_told(spec, changes):
    with pytest.raises(ValueError, match=r"mine\.py:shapes?.* returned tensors on the device meta"):
        build(spec("tensor") | changes)


@pytest.mark.parametrize("factory", ["keeps", "exported"])
def test_a_model_is_put_into_evaluation_mode_whatever_its_own_train_does(spec, factory):
    told = spec("tensor") | {"factory": f"mine.py:{factory}"}
    module = in_mode(build(told).module, training=False)
    assert module(torch.rand(8, 3)).shape == (8, 1)


def test_an_exported_program_cannot_train(spec):
    exported = build(spec("tensor") | {"factory": "mine.py:exported"}).module
    with pytest.raises(ValueError, match="bring the module that it was exported from"):
        in_mode(exported, training=True)


def test_a_program_in_the_place_of_its_module_is_told(spec):
    with pytest.raises(ValueError, match=r"returned ExportedProgram, .*; return its \.module\(\)"):
        build(spec("tensor") | {"factory": "mine.py:program"})


def test_a_model_knows_its_inputs_by_their_class(spec):
    built = build(spec("records") | {"factory": "mine.py:of_records"})
    assert built.module(built.inputs.args[0]).shape == (8, 1)


def test_one_tensor_that_is_given_twice_becomes_two(spec):
    one, other = build_model(spec("twice"), seed=1, batch_size=4, device="cpu").inputs.tensors()
    assert torch.equal(one, other)
    assert one.data_ptr() != other.data_ptr()


def test_what_a_neighbour_draws_when_it_is_imported_changes_no_weights(spec):
    Path("draws_once.py").write_text("import torch\ntorch.manual_seed(9)\n")
    Path("mine.py").write_text("import draws_once\n" + MINE)
    one, other = (
        build_model(spec("tensor"), seed=1, batch_size=4, device="cpu").module for _ in range(2)
    )
    assert torch.equal(one.linear.weight, other.linear.weight)


def test_numbers_that_numpy_and_random_draw_come_from_the_seed_too(spec):
    first, second, other = (
        build_model(spec("numpys"), seed=seed, batch_size=4, device="cpu").inputs.args[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_factory_may_change_the_working_folder_for_itself(spec, tmp_path):
    Path("mine.py").write_text(
        MINE + "\nimport os\ndef build():\n    os.chdir('/')\n    return Net()"
    )
    for _ in range(2):  # the baseline's is built after the mode's
        build(spec("tensor"))
    assert Path.cwd() == tmp_path


def build(spec, device="cpu"):
    return build_model(spec, seed=42, batch_size=8, device=device)


@pytest.mark.parametrize("inputs", ["tensor", "pair", "keywords", "user_dict"])
def test_a_model_takes_a_tensor_a_tuple_or_a_mapping(spec, inputs):
    built = build(spec(inputs))
    assert built.inputs.call(built.module).shape == (8, 1)


def test_the_batch_may_stand_in_any_dimension(spec):
    assert build(spec("time_first")).inputs.args[0].shape == (5, 8, 3)


@pytest.mark.parametrize("inputs", ["tensor", "pair", "keywords", "user_dict"])
def test_inputs_of_every_kind_go_to_the_device(spec, inputs):
    built = build(spec(inputs), device="meta")
    values = [*built.inputs.args, *built.inputs.kwargs.values()]
    assert {v.device.type for v in values if isinstance(v, torch.Tensor)} == {"meta"}
    assert built.inputs.call(built.module).device.type == "meta"


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("nothing", "returned NoneType; it must return a tensor, a tuple"),
        ("record", "returned Record; it must return a tensor, a tuple"),
        ("no_tensor", "returned no tensor at all"),
        ("empty", "returned no tensor at all"),
        ("nested", "returned a nested tensor that has no shape; make it with layout=torch.jagged"),
        ("numbered", "returned a dict with the key 0, no argument's name"),
        (
            "fixed",
            r"returned no tensor with a dimension of 8, its batch size; it returned \(4, 3\)",
        ),
    ],
)
def test_other_inputs_are_told_by_the_functions_name(spec, inputs, told):
    with pytest.raises(ValueError, match=rf"mine\.py:{inputs}\(8\) {told}"):
        build(spec(inputs))


# --- Lazy parameters -------------------------------------------------------------------------

LAZY = """
import torch
from torch import nn

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(4)
        self.norm = nn.LazyBatchNorm1d()
        self.weight = nn.UninitializedParameter()
        self.register_buffer("seen", torch.zeros(1))
        self.calls = 0

    def forward(self, x):
        if nn.parameter.is_lazy(self.weight):
            self.weight.materialize((4, 2))
            nn.init.normal_(self.weight)
        self.calls += 1
        self.seen += 1
        return self.norm(self.linear(x.mul_(2))) @ self.weight

class Unreached(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.head = nn.Linear(3, 3), nn.LazyLinear(4)

    def forward(self, x):
        return self.used(x)

def build(): return Lazy()
def unreached(): return Unreached()
def misfit(): return nn.Sequential(nn.LazyConv2d(2, 3))
def inputs(n): return torch.ones(n, 3)
"""


@pytest.fixture
def lazy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lazy.py").write_text(LAZY)

    def built(factory="build"):
        spec = {"family": "user", "factory": f"lazy.py:{factory}", "inputs": "lazy.py:inputs"}
        return build_model(
            spec | {"options": {}, "item": "row"}, seed=3, batch_size=2, device="cpu"
        )

    return built


def test_lazy_parameters_are_there_once_a_model_is_built_and_equal_in_each_build(lazy):
    one, other = lazy().module, lazy().module
    assert type(one.linear) is nn.Linear
    assert one.weight.shape == (4, 2)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_nothing_else_of_a_lazy_model_or_its_inputs_has_changed(lazy):
    built = lazy()
    assert (built.module.calls, built.module.seen.item()) == (0, 0)
    assert torch.equal(built.inputs.args[0], torch.ones(2, 3))
    copy.deepcopy(built.module)(*built.inputs.args)


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("unreached", "head.weight, head.bias have no shape after .* does not reach them; give"),
        ("misfit", r"0.weight, 0.bias have no shape before .* \(RuntimeError: Expected 3D.*; give"),
    ],
)
def test_lazy_parameters_without_a_shape_are_told_by_name(lazy, factory, told):
    with pytest.raises(ValueError, match=told):
        lazy(factory)
