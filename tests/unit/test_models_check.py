"""``make check``: every configured model is built and run once, whatever becomes of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from torchmodes.models.check import check_model, describe_shapes, engineering, main

MINE = """
import torch

def build():
    return torch.nn.Linear(3, 2)

def inputs(batch_size):
    return torch.rand(batch_size, 3)

def lazy():
    return torch.nn.Sequential(torch.nn.LazyConv2d(2, 3))

def unknown():
    return Spectrum()

class Spectrum(torch.nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs()

def misshapen(batch_size):
    return torch.rand(batch_size, 4)
"""
BASE = {
    "seed": 42,
    "data": {},
    "models": {"house_price": {"family": "mlp", "hidden": [8]}},
    "modes": {"eager": {"engine": "eager"}},
    "training": {"modes": ["eager"]},
    "benchmark": [
        {"task": "training", "models": ["house_price"], "modes": ["eager"], "batch_sizes": [8]}
    ],
    "profile": {},
    "studies": {},
    "measurement": {},
}
USER = {"family": "user", "factory": "mine.py:build", "inputs": "mine.py:inputs"}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Return a function that lays models over config.yaml and checks them all."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("config.yaml").write_text(yaml.safe_dump(BASE))

    def check(models):
        Path("mine.yaml").write_text(yaml.safe_dump({"models": models}))
        return main(["--configfile", "mine.yaml", "--device", "cpu"])

    return check


def test_every_model_is_a_row_with_its_figures(workplace, capsys):
    assert workplace({"mine": USER}) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:2] == ["house_price", "mlp"]
    assert rows[3][:2] == ["mine", "user"]
    assert rows[3][2:6] == ["8", "0.0", "12", "1×2"]
    assert [row[-1] for row in rows[2:]] == ["ok", "ok"]


def test_lazy_parameters_that_take_no_shape_from_the_inputs_are_told(workplace, capsys):
    assert workplace({"lazy": USER | {"factory": "mine.py:lazy"}, "mine": USER}) == 1
    told = capsys.readouterr().out
    assert "lazy: the parameters 0.weight, 0.bias have no shape before a first forward pass" in told
    assert "mine  " in told


def test_operations_that_were_not_counted_are_no_fault_and_told(workplace, capsys):
    assert workplace({"spectrum": USER | {"factory": "mine.py:unknown"}}) == 0
    told = "spectrum: FLOP not counted: no operations are known of aten._fft_r2c"
    assert told in capsys.readouterr().out


def test_one_that_fails_is_told_and_the_others_are_checked_all_the_same(workplace, capsys):
    models = {"a-wrong-one": USER | {"inputs": "mine.py:misshapen"}, "mine": USER}
    assert workplace(models) == 1
    told = capsys.readouterr().out
    assert "mat1 and mat2 shapes cannot be multiplied (1x4 and 3x2)" in told
    assert [line.split()[-1] for line in told.splitlines()[2:5]] == ["ok", "error", "ok"]


def test_one_model_can_be_checked_alone(workplace, capsys):
    workplace({"mine": USER})
    capsys.readouterr()
    options = ["--configfile", "mine.yaml", "--device", "cpu", "--models"]
    assert main([*options, "mine"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith("mine ")
    assert "house_price" not in told
    assert main([*options, "mien"]) == 1
    assert capsys.readouterr().out == "--models: unknown model 'mien'; did you mean 'mine'?\n"


def test_a_misspelt_configuration_is_told_before_any_model_is_built(workplace, capsys):
    assert workplace({"mine": USER | {"itme": "row"}}) == 1
    assert "models.mine.itme: unknown key; did you mean 'item'?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("missing.yaml", None, "missing.yaml: [Errno 2]"),
        ("broken.yaml", "models: [", "broken.yaml: "),
        ("list.yaml", "- 1", "list.yaml: not a mapping"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(workplace, capsys, file, text, told):
    if text is not None:
        Path(file).write_text(text)
    assert main(["--configfile", file]) == 1
    assert told in capsys.readouterr().out


def test_a_fault_of_our_own_is_told_as_it_is_and_others_with_their_kind():
    spec = USER | {"options": {}, "item": "row"}
    checked = check_model("mine", spec, seed=1, device="cpu", features=5)
    assert checked.error == f"mine.py:build: no file mine.py in {Path.cwd()}"
    checked = check_model("mlp", {"family": "mlp"}, seed=1, device="cpu", features=5)
    assert checked.error == "KeyError: 'hidden'"


def test_shapes_and_counts_are_written_for_people():
    output = {"logits": torch.ones(1, 5), "hidden": (torch.ones(1, 2, 3), None)}
    assert describe_shapes(output) == "1×5, 1×2×3"
    assert describe_shapes(torch.tensor(1.0)) == "scalar"
    assert describe_shapes(None) == "no tensor"
    counts = [0, 999, 1000, 67_585, 999_499, 999_600, 8_178_368_512, None]
    assert list(map(engineering, counts)) == (
        ["0", "999", "1 k", "67.6 k", "999 k", "1 M", "8.18 G", "–"]
    )
