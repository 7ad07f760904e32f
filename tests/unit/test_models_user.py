"""The user's own model: what its inputs may be, and what is told where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from torchmodes.models import build_model

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

def build():
    return Net()

def tensor(n): return torch.rand(n, 3)
def pair(n): return torch.rand(n, 3), 1.5
def keywords(n): return {"x": torch.rand(n, 3), "shift": torch.ones(1)}
def user_dict(n): return collections.UserDict(keywords(n))
def time_first(n): return torch.rand(5, n, 3)
def numpys(n): return torch.tensor(np.random.rand(n, 3) + random.random())

def nothing(n): return None
def record(n): return Record()
def no_tensor(n): return {"x": [1.0] * n}
def empty(n): return ()
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


def test_numbers_that_numpy_and_random_draw_come_from_the_seed_too(spec):
    first, second, other = (
        build_model(spec("numpys"), seed=seed, batch_size=4, device="cpu").inputs.args[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


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
