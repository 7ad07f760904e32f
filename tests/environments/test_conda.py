"""Every rule runs where `snakemake --sdm conda` puts it, with nothing but that file's packages."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from workflow.conftest import copy_repository

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MODELS = {
    "torch": {"build_operators", "measure_machine", "measure_study", "train_model"},
    "vision": set[str](),
    "language": {"measure_study"},
    "onnx": {"measure_study"},
}
"""The rules that run a model, by environment, beside benchmark_case and profile_case."""

APP = """
from streamlit.testing.v1 import AppTest

for page in ("predict", "benchmarks", "inside", "profiles"):
    script = f"from app.views import {page}\\n{page}.show()"
    app = AppTest.from_string(script, default_timeout=120).run()
    assert not app.exception and not app.error, (page, app.exception, app.error)
    assert app.dataframe, page
"""

pytestmark = [pytest.mark.environments, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Deployed:
    """A copy of the repository, and Snakemake in the environment of ``envs/snakemake.yaml``."""

    folder: Path
    tools: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a shell that has the stand-in for conda."""
        return os.environ | {
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "CONDA_STAND_IN": str(self.tools.parent),
            "CONDA_STAND_IN_HOST": str(self.tools.parent / "snakemake"),
        }

    def make(self, name: str) -> Path:
        """Make one environment alone and return its Python."""
        prefix = self.tools.parent / name
        file = ROOT / "envs" / f"{name}.yaml"
        command = ["conda", "env", "create", "--file", file, "--prefix", prefix]
        variables = self.variables
        if name == "snakemake":
            del variables["CONDA_STAND_IN_HOST"]
        subprocess.run(command, env=variables, check=True)
        return prefix / "bin" / "python"

    def snakemake(self, *arguments: str) -> str:
        """Run the workflow on the configuration beside this file; return what it printed."""
        python = self.tools.parent / "snakemake" / "bin" / "python"
        configured = ["--configfile", HERE / "config.yaml"]
        ran = subprocess.run(
            [python, "-m", "snakemake", "--sdm", "conda", "--cores", "2", *arguments, *configured],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        logs = [path.read_text(errors="replace") for path in self.folder.rglob("logs/**/*.log")]
        assert ran.returncode == 0, "\n".join([*logs, ran.stdout])
        return ran.stdout

    def ran(self) -> dict[str, set[str]]:
        """Return the rules that have run in each environment, as Snakemake recorded them."""
        names = {path.read_bytes(): path.stem for path in (ROOT / "envs").glob("*.yaml")}
        found: dict[str, set[str]] = defaultdict(set)
        for file in (self.folder / ".snakemake" / "metadata").rglob("*"):
            if file.is_file():
                told = json.loads(file.read_text())
                found[names[base64.b64decode(told["conda_env"])]].add(told["rule"])
        return found


@pytest.fixture(scope="module")
def deployed() -> Generator[Deployed]:
    """Everything in one folder that is gone afterwards: the environments take gigabytes."""
    with tempfile.TemporaryDirectory(prefix="torchmodes-environments-") as folder:
        place = Path(folder).resolve()
        (place / "bin").mkdir()
        (place / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
        conda = place / "bin" / "conda"
        conda.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "conda.py"}" "$@"\n')
        conda.chmod(0o755)
        copy_repository(place / "torchmodes")
        made = Deployed(place / "torchmodes", conda.parent)
        made.make("snakemake")
        yield made


def rules() -> set[str]:
    texts = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    return {rule for text in texts for rule in re.findall(r"^rule (\w+):", text, re.MULTILINE)}


def test_every_rule_runs_in_its_environment(deployed: Deployed) -> None:
    deployed.snakemake()
    deployed.snakemake("--config", "base=results")
    ran = deployed.ran()
    for environment, expected in MODELS.items():
        assert ran.pop(environment) == expected | {"benchmark_case", "profile_case"}
    assert set(ran) == {"data", "report"}
    assert set.union(*MODELS.values(), *ran.values()) >= rules() - {
        "benchmark_case",
        "profile_case",
    }


def test_the_app_opens_in_its_environment(deployed: Deployed) -> None:
    python = deployed.make("app")
    subprocess.run([python, "-c", APP], cwd=deployed.folder, check=True)


def test_no_environment_file_is_left_out() -> None:
    # TensorRT's libraries are in NVIDIA's package index alone, and of no use without its GPU.
    tried = {*MODELS, "data", "report", "app", "snakemake"}
    assert {path.stem for path in (ROOT / "envs").glob("*.yaml")} - tried == {"tensorrt"}
