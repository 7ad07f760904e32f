"""An engine and a family that the repository does not know yet: a section and a module each."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from workflow.conftest import Workflow

from torchmodes.results.records import read_record

pytestmark = pytest.mark.workflow

ENGINE_SECTION = '''\
class ForkMode(ModeSection):
    """torch.jit.fork."""

    packages = ("numpy",)
    looks = (NamedLook("forked", "olive", "X", "dashed"),)

    engine: Literal["fork"]
    times: Count = Field(1, description="forks of a call")


'''
ENGINE_MODULE = '''\
"""Fork: the module as a task of torch.jit."""

import torch

from torchmodes.workloads.modes import base


class ForkEngine(base.Engine):
    """Waits for the module's last task."""

    def prepare(self, module, inputs):
        """Fork at each call."""

        def call(*args, **kwargs):
            tasks = [
                torch.jit.fork(module, *args, **kwargs) for _ in range(self.options.times)
            ]
            return tasks[-1].wait()

        return call

    def stats(self):
        """Tell the number of forks."""
        return {"forks_of_a_call": self.options.times}
'''
FAMILY_SECTION = '''\
class ConvolutionModel(ModelSection):
    """One convolution; one item is a signal."""

    imports = ("torch.nn.functional",)

    family: Literal["convolution"]
    channels: Count = Field(4, description="channels of a signal")


'''
FAMILY_MODULE = '''\
"""Convolution: one of a random signal."""

import torch
from torch import nn

from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.structures import Inputs


def build(spec, *, seed, batch_size, features=None):
    """Draw weights and signals from the seed."""
    channels = spec["channels"]

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return Inputs.of(torch.randn(batch_size, channels, 32, generator=generator))

    torch.manual_seed(seed)
    module = nn.Conv1d(channels, channels, 3).eval()
    return BuiltModel(module, draw(seed), item="signal", batch_size=batch_size, draw=draw)
'''
YAML = """\
models: { filter: { family: convolution, channels: 3 } }
modes: { forked: { engine: fork, times: 2 } }
benchmark:
  - { task: inference, models: [filter], modes: [forked], batch_sizes: [4], devices: [cpu] }
measurement: { runs: 1, budget_s: 0.5, warmup_budget_s: 0.1 }
"""
CASE = "results/benchmark/inference/cpu/filter/forked/fp32-b4.json"


@pytest.fixture
def extended(fresh: Workflow) -> Workflow:
    """A copy with a new engine and a new family, each in the two files that one touches."""
    fresh.edit("torchmodes/config/modes.py", "class UserMode(", f"{ENGINE_SECTION}class UserMode(")
    fresh.edit("torchmodes/config/modes.py", "    | UserMode", "    | ForkMode\n    | UserMode")
    (fresh.folder / "torchmodes/workloads/modes/fork.py").write_text(ENGINE_MODULE)
    fresh.edit(
        "torchmodes/config/models.py", "class UserModel(", f"{FAMILY_SECTION}class UserModel("
    )
    fresh.edit(
        "torchmodes/config/models.py", "    | UserModel", "    | ConvolutionModel\n    | UserModel"
    )
    (fresh.folder / "torchmodes/workloads/models/convolution.py").write_text(FAMILY_MODULE)
    (fresh.folder / "mine.yaml").write_text(YAML)
    return fresh


def test_two_files_add_an_engine_and_two_a_family(extended: Workflow) -> None:
    schema = json.loads(
        subprocess.run(
            [sys.executable, "-m", "torchmodes.config"],
            cwd=extended.folder,
            capture_output=True,
            check=True,
        ).stdout
    )
    assert schema["$defs"]["ForkMode"]["properties"]["times"]["default"] == 1
    assert "ConvolutionModel" in schema["$defs"]
    ran = extended.run("--configfile", "mine.yaml")
    assert ran.returncode == 0, ran.stdout
    record = read_record(extended.folder / CASE)
    assert (record.status, record.item) == ("ok", "signal")
    assert record.parameters["mode"] == {"engine": "fork", "times": 2}
    assert record.facts == {"forks_of_a_call": 2}
    page = (extended.folder / "reports/report.html").read_text(encoding="utf-8")
    for told in ("filter", "forked", "forks of a call 2", "var(--figure-olive)"):
        assert told in page, told
    extended.edit("torchmodes/workloads/modes/fork.py", "tasks[-1].wait()", "tasks[0].wait()")
    again = extended.run("--dry-run", CASE, "--configfile", "mine.yaml").stdout
    assert again.count("rule benchmark_case:") == 1, "its module is behind its results, no other"
