"""A model and a mode that the repository does not know: ten lines of Python, five of YAML."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from workflow.conftest import CONFIG, Workflow

from torchmodes.results.records import read_record

pytestmark = pytest.mark.workflow

PYTHON = """\
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.GELU(), torch.nn.Linear(32, 2))

def inputs(batch_size):
    return torch.rand(batch_size, 6)

def prepare(model, inputs):
    return torch.jit.trace(model, inputs)
"""
YAML = """\
models: { mine: { family: user, factory: "mine.py:build", inputs: "mine.py:inputs" } }
modes: { my-engine: { engine: user, factory: "mine.py:prepare" } }
benchmark:
  - { task: inference, models: [mine], modes: [my-engine], batch_sizes: [8], devices: [cpu] }
profile: { cases: [] }
"""


MINE = """\
models: { mine: { family: user, factory: "mine.py:build", inputs: "mine.py:inputs" } }
benchmark:
  - task: inference
    models: [mine]
    modes: [eager, inductor, fx, torchscript]
    batch_sizes: [1, 8]
"""
REPORT = ["summarize_records", "draw_plots", "write_report"]


def planned(workflow: Workflow, *arguments: str) -> Counter[str]:
    """Return how many jobs of each rule a dry run would run."""
    ran = workflow.run("--dry-run", *arguments)
    assert ran.returncode == 0, ran.stdout
    rules = [line.split()[1] for line in ran.stdout.splitlines() if line[:5] == "rule "]
    return Counter(name.rstrip(":") for name in rules if name != "all:")


def test_a_run_of_ones_own_model_is_its_cases_and_the_report(fresh: Workflow) -> None:
    (fresh.folder / "mine.py").write_text(PYTHON)
    (fresh.folder / "mine.yaml").write_text(MINE)
    runs = ["benchmark_case", "benchmark_case_2", "benchmark_case_3", "join_runs"]
    cases = dict.fromkeys(runs, 8) | dict.fromkeys(REPORT, 1)
    assert planned(fresh, "--configfile", "mine.yaml") == cases
    once = {"benchmark_case": 8, "join_runs": 8} | dict.fromkeys(REPORT, 1)
    assert planned(fresh, "--configfile", "config/smoke.yaml", "mine.yaml") == once
    trained = planned(fresh, "--configfile", "mine.yaml", "--config", "training={}")
    table = dict.fromkeys(["prepare_housing", "compute_statistics", "build_operators"], 1)
    assert trained == cases | table | {"train_model": 6}


def test_the_report_of_ones_own_model_is_about_it_alone(finished: Workflow) -> None:
    shutil.rmtree(finished.folder / "results/data")
    shutil.rmtree(finished.folder / "results/training")
    (finished.folder / "mine.py").write_text(PYTHON)
    one = MINE.replace("[eager, inductor, fx, torchscript]", "[eager, fx]").replace("[1, 8]", "[8]")
    (finished.folder / "mine.yaml").write_text(f"{one}measurement: {{ budget_s: 0.5 }}\n")
    ran = finished.run("--configfile", "mine.yaml")
    assert ran.returncode == 0, ran.stdout
    page = (finished.folder / "reports/report.html").read_text()
    assert "mine" in page
    for other in ("house_price:", "resnet50", "gpt2", "trace-optimized", "Loss curves"):
        assert other not in page, other
    for section in ("why", "studies"):
        assert f'<section id="{section}"' not in page
    assert not (finished.folder / "results/data").exists()
    assert not (finished.folder / "results/training").exists()


def test_a_model_and_a_mode_of_the_users_appear_in_the_report(finished: Workflow) -> None:
    assert len(PYTHON.splitlines()) <= 10
    assert len(YAML.splitlines()) <= 5
    (finished.folder / "mine.py").write_text(PYTHON)
    (finished.folder / "mine.yaml").write_text(YAML)
    ran = finished.run("reports/report.html", "reports/summary.md", *CONFIG, "mine.yaml")
    assert ran.returncode == 0, ran.stdout
    record = read_record(
        finished.folder / "results/benchmark/inference/cpu/mine/my-engine/fp32-b8.json"
    )
    assert record.status == "ok", record.reason
    assert record.verdict in ("faster", "slower", "same", "unresolved")
    for report in ("reports/report.html", "reports/summary.md"):
        text = (finished.folder / report).read_text()
        assert "my-engine" in text
        assert "mine" in text
