"""What cannot be is told in a sentence before anything is planned, without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from workflow.conftest import Workflow, copy_repository

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A copy in which nothing runs."""
    return copy_repository(tmp_path_factory.mktemp("refusals") / "torch modes")


def refusal(workflow: Workflow, *arguments: str) -> str:
    """Return the sentence with which Snakemake ends, and see that it is all there is."""
    ran = workflow.run("--dry-run", *arguments)
    assert ran.returncode == 1, ran.stdout
    for word in ("Traceback", "  File ", "Building DAG"):
        assert word not in ran.stdout
    return ran.stdout.partition("Error: ")[2].strip()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (
            "results/benchmark/inference/cpu/house_prise/eager/fp32-b1.json",
            (
                "inference/cpu/house_prise/eager/fp32-b1: the configuration has no model"
                " 'house_prise'; did you mean 'house_price'?"
            ),
        ),
        (
            "results/profile/inference/cpu/gpt2/induktor/fp32-b1/trace.json.gz",
            (
                "inference/cpu/gpt2/induktor/fp32-b1: the configuration has no mode 'induktor';"
                " did you mean 'inductor'?"
            ),
        ),
        (
            "results/training/onnxruntime/metrics.json",
            (
                "training/cpu/house_price/onnxruntime/fp32-b2048: 'onnxruntime' has the engine"
                " onnxruntime, which cannot train; engines that can: eager, compile, fx,"
                " torchscript, user"
            ),
        ),
        (
            "./results/benchmark/generation/cpu/resnet50/eager/fp32-b1.json",
            (
                "generation/cpu/resnet50/eager/fp32-b1: 'resnet50' cannot generate text; use a"
                " causal language model of family transformers or user"
            ),
        ),
        (
            "results/tensorboard/distilbert-eager-fp32-b2/torchmodes.pt.trace.json.gz",
            (
                "no case under `profile` has the run 'distilbert-eager-fp32-b2'; did you mean"
                " 'distilbert-eager-fp32-b1'?"
            ),
        ),
        (
            "results/profile/diff/distilbert-eager-fp32-b1--vs--distilbert-inductor-fp32-b2.json",
            (
                "no case under `profile` has the run 'distilbert-inductor-fp32-b2'; did you mean"
                " 'distilbert-inductor-fp32-b1'?"
            ),
        ),
        (
            "results/plots/study-batch_scaling.svg",
            (
                "results/plots/study-batch_scaling.svg: studies.batch_scaling lists no case, so"
                " there is no result"
            ),
        ),
        (
            "results/bench/inference/cpu/resnet50/eager/fp32-b1.json",
            (
                "results/bench/inference/cpu/resnet50/eager/fp32-b1.json: no rule makes this file;"
                " did you mean results/benchmark/inference/cpu/resnet50/eager/fp32-b1.json?"
                " results/README.md lists what is made"
            ),
        ),
        (
            "results/training/eager/model/weights.pt",
            (
                "results/training/eager/model/weights.pt: no rule makes this file; did you mean"
                " results/training/eager/metrics.json? results/README.md lists what is made"
            ),
        ),
        (
            "reports/comparison.html",
            "name the run to compare with: --config base=path/of/its/results",
        ),
    ],
    ids=lambda value: value if " " not in value else "",
)
def test_a_file_of_what_the_configuration_does_not_have(
    untouched: Workflow, target: str, told: str
) -> None:
    assert refusal(untouched, target) == told


def test_what_an_option_takes_is_no_file_to_be_made(untouched: Workflow) -> None:
    ran = untouched.run("--dry-run", "--log-handler-script", "results/none.py", "prepare_housing")
    assert "no rule makes" not in ran.stdout


def test_a_file_of_a_model_whose_own_file_is_missing(untouched: Workflow) -> None:
    (untouched.folder / "gone.yaml").write_text(
        'models: { gone: { family: user, factory: "gone.py:build", inputs: "gone.py:inputs" } }\n'
    )
    target = "results/benchmark/inference/cpu/gone/eager/fp32-b1.json"
    told = refusal(untouched, target, "--configfile", "gone.yaml")
    assert "models.gone.factory, models.gone.inputs: no file gone.py in" in told


def test_a_run_to_compare_with_that_is_not_there_or_empty(untouched: Workflow) -> None:
    assert refusal(untouched, "--config", "base=/nowhere") == (
        "base: /nowhere: there is no such folder"
    )
    assert refusal(untouched, "--config", "base=docs") == (
        "base: docs: is no results folder: no record of a benchmarked case lies below"
        " docs/benchmark or docs/results/benchmark"
    )


def test_a_result_that_an_option_swallowed(untouched: Workflow) -> None:
    file = untouched.folder / "results/studies/compile_cost.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"cases": []}')
    told = refusal(untouched, "--configfile", "config/smoke.yaml", str(file))
    assert told == (
        f"{file}: a result, not a configuration; --configfile takes every word after it: put the"
        " files that you ask for before it"
    )


def test_a_second_configfile_whose_first_would_be_forgotten(untouched: Workflow) -> None:
    files = ["--configfile", "config/house_price.yaml", "--configfile=config/smoke.yaml"]
    assert refusal(untouched, *files).startswith("--configfile is given more than once")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed:\n\t3\n", "config.yaml, line 2: indented with a tab; YAML allows only spaces"),
        ("# nothing\n", "config.yaml: empty; it needs at least one key, such as `seed: 42`"),
    ],
    ids=["tabs", "empty"],
)
def test_a_config_yaml_that_cannot_be_read(
    untouched: Workflow, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    elsewhere = Workflow(tmp_path)
    assert refusal(elsewhere, "--snakefile", str(untouched.folder / "Snakefile")) == told


@pytest.mark.parametrize("target", ["run", "smoke", "report"])
def test_make_says_which_file_snakemake_could_not_read(untouched: Workflow, target: str) -> None:
    (untouched.folder / "tabs.yaml").write_text("models:\n\tmine: {}\n")
    if not (untouched.folder / ".venv").exists():
        (untouched.folder / ".venv").symlink_to(sys.prefix)
    ran = subprocess.run(
        ["make", "--old-file", ".venv/ready", target, "ARGS=--dry-run --configfile tabs.yaml"],
        cwd=untouched.folder,
        env=untouched.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode != 0
    assert "Error: tabs.yaml, line 2: indented with a tab; YAML allows only spaces\n" in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


def test_sharpening_tells_what_snakemake_refuses(untouched: Workflow) -> None:
    (untouched.folder / "typo.yaml").write_text("measurement: { run: 2 }\n")
    ran = subprocess.run(
        [sys.executable, "-m", "torchmodes.sharpen", "--cores", "1", "--configfile", "typo.yaml"],
        cwd=untouched.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "Error: the configuration has 1 mistake:\n  measurement.run: unknown"
    )
