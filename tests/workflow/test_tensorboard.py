"""TensorBoard's profiler plugin reads the logs, and finds in them what our own tables say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from workflow.conftest import ROOT, Workflow

pytestmark = pytest.mark.workflow
READER = Path(__file__).with_name("read_by_plugin.py")


def plugin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python where the plugin is, and nothing of ours."""
    uv = [sys.executable, "-m", "uv", "run", "--quiet", "--no-project", "--isolated"]
    packages = ["--with-requirements", str(ROOT / "requirements-tensorboard.in")]
    return subprocess.run(
        [*uv, *packages, "--python", sys.executable, "python", *map(str, arguments)],
        cwd=READER.parent,
        capture_output=True,
        text=True,
    )


def test_the_plugin_sees_the_steps_and_the_operators_that_we_see(finished: Workflow) -> None:
    if plugin("-c", "import torch_tb_profiler").returncode:
        pytest.skip("TensorBoard and its profiler plugin cannot be installed here")
    ran = plugin(READER, finished.folder / "results/tensorboard")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert set(found) == {f"training-house_price-{m}-fp32-b256" for m in ("eager", "torchscript")}
    for mode in ("eager", "torchscript"):
        seen = found[f"training-house_price-{mode}-fp32-b256"]
        profile = finished.folder / f"results/profile/training/cpu/house_price/{mode}/fp32-b256"
        overview = json.loads((profile / "overview.json").read_text())
        ours = pd.read_csv(profile / "operators.csv").set_index("operator")["calls"]
        assert {"Overview", "Operator", "Trace", "Memory"} <= set(seen["views"])
        assert seen["steps"] == 3
        assert seen["step_s"] == pytest.approx(overview["wall_s"])
        for operator in ("aten::mm", "aten::addmm"):
            assert seen["calls"][operator] == pytest.approx(ours[operator] * seen["steps"])
