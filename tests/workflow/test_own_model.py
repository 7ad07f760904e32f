"""A model and a mode that the repository does not know: ten lines of Python, five of YAML."""

from __future__ import annotations

import pytest
from workflow.conftest import CONFIG, Workflow

from torchmodes.records import read_record

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
