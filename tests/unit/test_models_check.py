"""``make check``: every configured model is built and run once, whatever becomes of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from torchmodes.config import parse_config
from torchmodes.workloads.models import check
from torchmodes.workloads.models.check import (
    Checked,
    _as_called,
    check_model,
    describe_shapes,
    engineering,
    main,
    output_fault,
    tasks_asked,
)
from torchmodes.workloads.structures import register_dataclasses

ROOT = Path(__file__).parents[2]
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

def colourful():
    raise RuntimeError("\\x1b[31mno weights\\x1b[0m " + "x" * 5000)

class Spectrum(torch.nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs()

def misshapen(batch_size):
    return torch.rand(batch_size, 4)

def crash():
    import ctypes
    ctypes.string_at(0)

def hang():
    import time
    time.sleep(1000)

def normed():
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

def total(output, batch):
    return output.sum()

def per_row(output, batch):
    return output.sum(1)

class Writer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(7, 7)

    def prefill(self, tokens):
        return self.table(tokens[:, -1]), [tokens[:, -1:]]

    def decode(self, token, state):
        return self.table(token[:, -1]), [token]

def tokens(batch_size):
    return torch.randint(7, (batch_size, 6))
"""
BASE = {
    "seed": 42,
    "data": {},
    "models": {"house_price": {"family": "mlp", "hidden": [8]}},
    "modes": {"eager": {"engine": "eager"}},
    "training": {"modes": ["eager"]},
    "benchmark": [
        {"task": "inference", "models": ["house_price"], "modes": ["eager"], "batch_sizes": [8]}
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

    def check(models, blocks=(), *names, **measurement):
        told = {"models": models, "measurement": measurement}
        if blocks:
            told["benchmark"] = list(blocks)
        Path("mine.yaml").write_text(yaml.safe_dump(told))
        chosen = ["--models", *names] if names else []
        return main(["--configfile", "mine.yaml", "--device", "cpu", *chosen])

    return check


def endings(told):
    """Return the last word of each model's line."""
    rows = [line.split() for line in told.splitlines()[2:] if not line.startswith("  ")]
    return {row[0]: row[-1] for row in rows if row and row[-1] in ("ok", "error")}


def test_every_model_is_a_row_with_its_figures(workplace, capsys):
    assert workplace({"mine": USER}) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:2] == ["house_price", "mlp"]
    assert rows[3][:2] == ["mine", "user"]
    assert rows[3][2:5] == ["8", "0.0", "12"]
    assert rows[3][-2] == "1×2"
    assert [row[-1] for row in rows[2:]] == ["ok", "ok"]


def test_lazy_parameters_that_take_no_shape_from_the_inputs_are_told(workplace, capsys):
    assert workplace({"lazy": USER | {"factory": "mine.py:lazy"}, "mine": USER}) == 1
    told = capsys.readouterr().out
    assert "the parameters 0.weight, 0.bias have no shape before a first forward pass" in told
    assert "mine  " in told


def test_operations_that_were_not_counted_are_no_fault_and_told(workplace, capsys):
    assert workplace({"spectrum": USER | {"factory": "mine.py:unknown"}}) == 0
    told = "  FLOP not counted: no operations are known of aten._fft_r2c"
    assert told in capsys.readouterr().out


def test_one_that_fails_is_told_and_the_others_are_checked_all_the_same(workplace, capsys):
    models = {"a-wrong-one": USER | {"inputs": "mine.py:misshapen"}, "mine": USER}
    assert workplace(models) == 1
    told = capsys.readouterr().out
    assert "mat1 and mat2 shapes cannot be multiplied (1x4 and 3x2)" in told
    assert endings(told) == {"house_price": "ok", "a-wrong-one": "error", "mine": "ok"}
    assert told.splitlines()[-1] == "1 of 3 failed: a-wrong-one"


def test_what_a_model_raises_is_told_in_one_line_with_its_log(workplace, capsys):
    assert workplace({"mine": USER | {"factory": "mine.py:colourful"}}, (), "mine") == 1
    told = capsys.readouterr().out.splitlines()[3]
    assert told.startswith("  RuntimeError: no weights xxx")
    assert told.endswith("…; see logs/check/mine.log")
    assert "in colourful" in Path("logs/check/mine.log").read_text()


def test_a_crash_and_a_hang_are_told_by_name_and_cost_no_other_model(workplace, capsys):
    models = {
        "crashing": USER | {"factory": "mine.py:crash"},
        "hanging": USER | {"factory": "mine.py:hang"},
        "mine": USER,
    }
    assert workplace(models, time_limit_s=8.0, budget_s=1.0, warmup_budget_s=1.0) == 1
    told = capsys.readouterr().out
    assert endings(told) == {
        "house_price": "ok",
        "crashing": "error",
        "hanging": "error",
        "mine": "ok",
    }
    assert "  killed by SIGSEGV (segmentation fault); see logs/check/crashing.log" in told
    assert "  still running after 8 s: killed; see logs/check/hanging.log" in told
    assert "crash" in Path("logs/check/crashing.log").read_text()  # where it was


@pytest.mark.timeout(300)
def test_a_model_is_named_before_it_is_built_and_those_before_it_are_told(workplace):
    """Whatever kills the check, its last line is about the model that did it."""
    models = {"a-good-one": USER, "hanging": USER | {"factory": "mine.py:hang"}}
    Path("mine.yaml").write_text(yaml.safe_dump({"models": models}))
    command = [
        sys.executable,
        "-m",
        "torchmodes.workloads.models.check",
        "--configfile",
        "mine.yaml",
    ]
    with subprocess.Popen(
        [*command, "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as check:
        try:
            assert check.stdout is not None
            lines = [check.stdout.readline() for _ in range(4)]
            name = check.stdout.read(len("hanging"))
        finally:
            check.kill()
    assert endings("".join(lines)) == {"house_price": "ok", "a-good-one": "ok"}
    assert name == "hanging"


def test_an_interrupt_ends_with_what_is_known(workplace, capsys, monkeypatch):
    def interrupted(name, *_, **__):
        if name == "mine":
            raise KeyboardInterrupt
        return Checked(name, "mlp", output="1×1")

    monkeypatch.setattr(check, "check_alone", interrupted)
    assert workplace({"mine": USER}) == 130
    told = capsys.readouterr().out
    assert endings(told)["house_price"] == "ok"
    assert told.splitlines()[-1] == "interrupted: 1 of 2 models were checked"


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
        ("missing.yaml", None, "missing.yaml: no such file in "),
        ("broken.yaml", "models: [", "broken.yaml, line 1: "),
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
    checked = check_model("vit", {"family": "torchvision"}, seed=1, device="cpu", features=5)
    assert checked.error == "KeyError: 'name'"


def test_shapes_and_counts_are_written_for_people():
    output = {"logits": torch.ones(1, 5), "hidden": (torch.ones(1, 2, 3), None)}
    assert describe_shapes(output) == "1×5, 1×2×3"
    assert describe_shapes(torch.tensor(1.0)) == "scalar"
    assert describe_shapes(None) == "no tensor"
    counts = [0, 999, 1000, 67_585, 999_499, 999_600, 8_178_368_512, None]
    assert list(map(engineering, counts)) == (
        ["0", "999", "1 k", "67.6 k", "999 k", "1 M", "8.18 G", "–"]
    )


def test_the_function_that_scores_a_model_is_tried(workplace, capsys):
    with Path("mine.py").open("a") as file:
        file.write(
            "\ndef half(call):\n    return [0, 1] if call(torch.rand(5, 3)).shape[0] == 5 else []\n"
        )
        file.write("\ndef wide(call):\n    return call(torch.rand(5, 4))\n")
        file.write("\ndef dollars(call):\n    call(torch.rand(5, 3))\n    return [-900.0, 12.5]\n")
        file.write("\ndef idle(call):\n    return [0, 1]\n")
    names = ("half", "wide", "dollars", "idle")
    models = {name: USER | {"quality": f"mine.py:{name}"} for name in names}
    assert workplace(models) == 1
    told = capsys.readouterr().out
    ended = {"half": "ok", "wide": "error", "dollars": "error", "idle": "error"}
    assert ended.items() <= endings(told).items()
    assert "quality: 2 examples, mean score in eager 0.5" in told
    assert "ValueError: the model was called with a tensor of shape (5, 4)" in told
    assert "mine.py:dollars scores eager from -900 to 12.5" in told
    assert "idle() never called the model, so its scores say nothing about it" in told


def block(task, model, *batch_sizes):
    return {"task": task, "models": [model], "modes": ["eager"], "batch_sizes": list(batch_sizes)}


def test_what_is_trained_or_generates_does_that_too(workplace, capsys):
    """A step is of the smallest batch: of one item a normalisation would be refused.

    A model that generates alone needs no forward pass.
    """
    normed = USER | {"factory": "mine.py:normed"}
    models = {
        "mine": normed | {"train": {"loss": "mine.py:total"}},
        "faulty": normed | {"train": {"loss": "mine.py:per_row"}},
        "writer": USER | {"factory": "mine.py:Writer", "inputs": "mine.py:tokens"},
    }
    models["writer"]["generation"] = {"prompt_length": 3, "new_tokens": 3}
    blocks = [
        block("training", "mine", 8, 4),
        block("training", "faulty", 4),
        block("generation", "writer", 2),
    ]
    assert workplace(models, blocks, *models) == 1
    told = capsys.readouterr().out
    assert endings(told) == {"mine": "ok", "faulty": "error", "writer": "ok"}
    assert "  training: one optimiser step of a batch of 4, 0." in told
    assert "  training: train.loss: mine.py:per_row returned the shape (4,): return a sca" in told
    assert "  generation: one token of a batch of 2, 0." in told


def test_a_model_that_generates_alone_is_run_on_what_it_reads_then():
    writer = {"family": "transformers", "source": "gpt2", "head": "causal-lm"}
    base = BASE | {"models": {**BASE["models"], "writer": writer}}
    config = parse_config(base | {"benchmark": [block("generation", "writer", 4, 2)]})
    assert tasks_asked(config, "writer") == {"generation": 2}
    spec = _as_called(config.models["writer"], ["generation"])
    assert spec["sequence_length"] == 64 + 32
    assert (
        _as_called(config.models["writer"], ["generation", "inference"])["sequence_length"] == 128
    )


def test_an_output_that_nothing_can_be_compared_with_is_a_fault(workplace):
    with Path("mine.py").open("a") as file:
        file.write(
            """
class Talks(torch.nn.Linear):
    def forward(self, x):
        return {"answer": "yes"}

class Broken(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) / 0 * 0

def talks():
    return Talks(3, 2)

def broken():
    return Broken(3, 2)
"""
        )

    def error(function):
        spec = USER | {"factory": f"mine.py:{function}", "options": {}, "item": "row"}
        return check_model("m", spec, seed=1, device="cpu", features=5).error

    assert error("build") is None
    told = "the model returns no tensor but str: no mode can be compared with it; return"
    assert error("talks").startswith(told)
    told = "every number of the model's output is NaN: every mode would be called wrong; look"
    assert error("broken").startswith(told)


def test_the_tensors_of_a_dataclass_are_an_output():
    @dataclass
    class Output:
        logits: torch.Tensor

    output = Output(torch.ones(1, 2))
    register_dataclasses(output)
    assert output_fault(output) is None
