"""``make try MODEL=…``: a configuration of one model, or one clear error before anything starts."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from torchmodes.config import parse_config
from torchmodes.workloads.models import trial as tried
from torchmodes.workloads.models.check import Checked, read_config
from torchmodes.workloads.models.trial import EVERY_MODE, MODES, main, model_section, trial

ROOT = Path(__file__).parents[2]
FUNCTIONS = {"factory": "build", "inputs": "inputs"}


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A folder with the shipped configuration; nothing is built in it, and nothing is measured."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "config.yaml").symlink_to(ROOT / "config.yaml")
    monkeypatch.chdir(tmp_path)
    commands = []

    def run(command, **_):
        commands.append([str(word) for word in command])
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(tried.subprocess, "run", run)
    monkeypatch.setattr(
        tried, "check_alone", lambda name, *_, **__: Checked(name, "timm", output="1×2")
    )
    return commands


@pytest.mark.parametrize(
    ("model", "name", "section"),
    [
        ("timm/convnext_tiny", "timm-convnext_tiny", {"family": "timm", "name": "convnext_tiny"}),
        ("torchvision/vit_b_16", "torchvision-vit_b_16", {"name": "vit_b_16"}),
        ("transformers/t5", "transformers-t5", {"source": "t5"}),
        (
            "transformers/openai/whisper-tiny",
            "transformers-openai-whisper-tiny",
            {"source": "openai/whisper-tiny"},
        ),
        (
            "mine/net.py:build",
            "net-build",
            {key: f"{Path.cwd()}/mine/net.py:{name}" for key, name in FUNCTIONS.items()},
        ),
    ],
)
def test_a_word_is_a_model(model, name, section):
    found, told = model_section(model)
    assert found == name
    assert section.items() <= told.items()


def test_its_configuration_is_whole_and_measures_it_alone(here):
    config = parse_config(trial("timm/convnext_tiny", MODES, 4, read_config([EVERY_MODE])))
    assert list(config.models) == ["timm-convnext_tiny"]
    assert list(config.modes) == list(MODES)
    assert config.benchmark[0].batch_sizes == [4]
    assert not config.training.modes
    assert not config.profile.cases


def test_it_is_written_where_one_can_go_on_from_and_measured_there(here, capsys):
    assert main(["timm/convnext_tiny", "--modes", "inductor", "--batch", "2", "--cores", "2"]) == 0
    file = Path("try/timm-convnext_tiny/config.yaml")
    config = parse_config(yaml.safe_load(file.read_text()))
    assert list(config.modes) == ["eager", "inductor"]
    assert config.benchmark[0].batch_sizes == [2]
    assert here[0][1:5] == ["--cores", "2", "--directory", "try/timm-convnext_tiny"]
    assert "try/timm-convnext_tiny/reports/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tim/resnet18"], "'tim' is no family that has names; did you mean 'timm'?"),
        (["resnet18"], "did you mean torchvision/resnet18 or timm/resnet18?"),
        (["gpt2"], "did you mean transformers/gpt2?"),
        (["my_own_net"], "families: torchvision, timm, transformers"),
        (["timm/resnet18", "--batch", "0"], "BATCH: 0 is no number of items per call"),
        (["timm/resnet18", "--batch", "two"], "BATCH: 'two' is no whole number"),
        (
            ["timm/resnet18", "--modes", "int8-dynamic"],
            "'int8-dynamic' quantises, and all is",
        ),
        (["timm/resnet18", "--modes", "induktor"], "no mode 'induktor'; did you mean 'inductor'?"),
    ],
)
def test_a_bad_word_is_told_before_anything_starts(here, capsys, words, told):
    assert main(words) == 1
    assert told in capsys.readouterr().out
    assert not here
    assert not Path("try").exists()


def test_a_model_that_cannot_be_built_is_told_and_not_measured(here, capsys, monkeypatch):
    fault = Checked("timm-resnet", "timm", error="name: timm has no model 'resnet'")
    monkeypatch.setattr(tried, "check_alone", lambda *_, **__: fault)
    assert main(["timm/resnet"]) == 1
    assert capsys.readouterr().out == "MODEL: name: timm has no model 'resnet'\n"
    assert not here


def test_two_files_of_one_name_have_a_folder_each_and_keep_it(here):
    for model in ("a/net.py:build", "b/net.py:build", "a/net.py:build", "b/net.py:build"):
        assert main([model]) == 0
    first, second, *again = [command[4] for command in here]
    assert first == "try/net-build"
    assert second.startswith("try/net-build-")
    assert again == [first, second]
    told = [yaml.safe_load(Path(f, "config.yaml").read_text()) for f in (first, second)]
    factories = [config["models"]["net-build"]["factory"] for config in told]
    assert factories == [f"{Path.cwd()}/{folder}/net.py:build" for folder in "ab"]


def test_what_was_edited_is_kept_and_measured(here, capsys):
    main(["timm/vit"])
    file = Path("try/timm-vit/config.yaml")
    mine = file.read_text().replace("runs: 3", "runs: 9  # mine")
    file.write_text(mine)
    assert main(["timm/vit"]) == 0
    assert file.read_text() == mine
    told = "try/timm-vit/config.yaml was edited and is kept; remove try/timm-vit to begin anew"
    assert told in capsys.readouterr().out
    assert len(here) == 2
    assert main(["timm/vit", "--batch", "8"]) == 1
    assert "Edit it and leave them out, or remove try/timm-vit" in capsys.readouterr().out
    assert file.read_text() == mine
    assert len(here) == 2


def test_what_was_not_edited_follows_what_is_asked(here, capsys):
    for words in ([], ["--batch", "8"], ["--modes", "inductor"]):
        assert main(["timm/vit", *words]) == 0
    config = yaml.safe_load(Path("try/timm-vit/config.yaml").read_text())
    assert config["benchmark"][0]["modes"] == ["eager", "inductor"]
    assert config["benchmark"][0]["batch_sizes"] == [1]
    assert "edited" not in capsys.readouterr().out


def test_make_hands_every_mode_over_as_one_word():
    asked = ["make", "--no-print-directory", "--dry-run", "--old-file", ".venv/ready", "try"]
    asked += ["MODEL=timm/x", "MODES=eager $$(touch) it's;", "BATCH=`8`"]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    words = shlex.split(ran.stdout.partition(".trial ")[2].replace("\\\n", ""))
    assert words[words.index("--batch") :] == [
        *("--batch", "`8`", "--modes", "eager", "$(touch)", "it's;"),
    ]
