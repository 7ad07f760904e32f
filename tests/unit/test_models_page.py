"""docs/models.md: every model of config/models.yaml, built and run, by the command that made it."""

from __future__ import annotations

from pathlib import Path

from tools.models import LIST, PAGE, models_page
from torchmodes.config.models import Model, TorchvisionModel, TransformersModel
from torchmodes.workloads.models.check import Checked, read_config

ROOT = Path(__file__).parents[2]


def test_the_page_has_every_model_of_the_list_and_none_failed(monkeypatch):
    monkeypatch.chdir(ROOT)
    models = read_config([LIST]).models
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(models) >= 60
    assert all(row.endswith("| ok |") for row in rows)


def test_a_row_tells_what_came_of_a_model():
    models: dict[str, Model] = {
        "flow": TorchvisionModel(family="torchvision", name="raft_small"),
        "t5": TransformersModel(family="transformers", source="t5", part="encoder"),
    }
    flow = Checked(
        "flow", "torchvision", item="pair", inputs="1×3, 1×3", output="1×2", parameters=990_162
    )
    page = models_page(models, [flow, Checked("t5", "transformers", error="no | such")])
    assert "2 models, of which 1 failed." in page
    assert "| `raft_small` | pair | 1×3, 1×3 | 1×2 | 990 k | – | ok |" in page
    assert "| `t5` (encoder) | – | – | – | – | – | no \\| such |" in page
