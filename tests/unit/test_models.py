"""Models: the same weights and inputs for the same seed, whoever brings them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from torchmodes.config.models import FAMILIES
from torchmodes.workloads.models import build_model, family_module
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.structures import Inputs

MLP = {"family": "mlp", "hidden": [16, 8]}
USER_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(10, width)
        self.linear = nn.Linear(width, 1)
    def forward(self, tokens, weights=None):
        return self.linear(self.embedding(tokens)).squeeze(-1) * weights

def build(width=4):
    return Net(width)

def no_module():
    return "no module"

def as_keywords(batch_size):
    return {"tokens": torch.randint(10, (batch_size, 3)), "weights": torch.rand(batch_size, 3)}

def as_pair(batch_size):
    return torch.randint(10, (batch_size, 3)), torch.rand(batch_size, 3)
"""


def build(spec, *, seed=42, batch_size=4, features=5):
    return build_model(spec, seed=seed, batch_size=batch_size, device="cpu", features=features)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(USER_FILE)
    return {
        "family": "user",
        "factory": "net.py:build",
        "inputs": "net.py:as_keywords",
        "options": {"width": 6},
        "item": "sequence",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_configuration_can_be_built(family):
    assert callable(importlib.import_module(family_module(family)).build)


# --- The house-price model -------------------------------------------------------------------


def test_the_mlp_has_the_layers_that_are_asked_for():
    built = build(MLP)
    linear = [m for m in built.module.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(5, 16), (16, 8), (8, 1)]
    assert built.parameters == (5 + 1) * 16 + (16 + 1) * 8 + (8 + 1) * 1
    assert built.parameter_bytes == 4 * built.parameters


def test_the_mlp_maps_rows_to_predictions_in_evaluation_mode():
    built = build(MLP, batch_size=7)
    assert built.inputs.call(built.module).shape == (7, 1)
    assert not built.module.training
    assert (built.item, built.batch_size) == ("row", 7)


def test_the_mlp_needs_the_number_of_features():
    with pytest.raises(ValueError, match="needs the number of features"):
        build(MLP, features=None)


# --- Seeds -----------------------------------------------------------------------------------


def same(one: BuiltModel, other: BuiltModel) -> bool:
    weights = zip(one.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in weights) and torch.equal(
        one.inputs.call(one.module), other.inputs.call(other.module)
    )


def test_a_seed_gives_the_same_weights_and_inputs_whatever_was_drawn_before():
    one = build(MLP)
    torch.rand(100)
    assert same(one, build(MLP))
    assert not same(one, build(MLP, seed=43))


def test_building_draws_nothing_from_the_random_numbers_of_the_process():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(MLP)
    assert torch.equal(torch.rand(3), expected)


# --- The user's own --------------------------------------------------------------------------


def test_a_users_model_takes_its_options_and_names_its_item(mine):
    built = build(mine)
    assert built.module.embedding.embedding_dim == 6
    assert built.item == "sequence"
    assert not built.module.training
    assert built.inputs.call(built.module).shape == (4, 3)


def test_a_users_model_comes_from_the_seed_too(mine):
    assert same(build(mine), build(mine))
    assert not same(build(mine), build(mine, seed=7))


def test_a_users_inputs_may_be_keywords_or_positions(mine):
    positions = build(mine | {"inputs": "net.py:as_pair"})
    assert len(positions.inputs.args) == 2
    assert positions.inputs.kwargs == {}
    assert build(mine).inputs.kwargs.keys() == {"tokens", "weights"}


def test_a_factory_that_returns_no_module_is_told(mine):
    with pytest.raises(
        ValueError, match=r"net\.py:no_module returned str, not a torch\.nn\.Module"
    ):
        build(mine | {"factory": "net.py:no_module", "options": {}})


# --- Inputs ----------------------------------------------------------------------------------


def double(*args, **kwargs):
    return args, kwargs


@pytest.mark.parametrize(
    ("value", "call"),
    [
        (3, ((3,), {})),
        ((1, 2), ((1, 2), {})),
        ([1, 2], ((1, 2), {})),
        ({"x": 1}, ((), {"x": 1})),
        (Inputs(args=(1,), kwargs={"y": 2}), ((1,), {"y": 2})),
    ],
    ids=["one", "tuple", "list", "mapping", "inputs"],
)
def test_inputs_are_made_of_what_a_user_would_return(value, call):
    assert Inputs.of(value).call(double) == call


def test_every_tensor_of_the_inputs_is_mapped_and_nothing_else():
    inputs = Inputs(args=(torch.ones(2), 3), kwargs={"mask": None, "pair": [torch.ones(1), "x"]})
    mapped = inputs.map(lambda tensor: tensor + 1)
    assert mapped.args[1] == 3
    assert mapped.kwargs["mask"] is None
    assert mapped.args[0].tolist() == [2, 2]
    assert mapped.kwargs["pair"][0].tolist() == [2]
    assert inputs.args[0].tolist() == [1, 1], "the original is left as it was"


def test_module_and_inputs_go_to_a_device_together():
    built = build(MLP).to("meta")
    assert {p.device.type for p in built.module.parameters()} == {"meta"}
    assert built.inputs.args[0].device.type == "meta"
