"""The conda environments of the rules: the lock's versions, and for each case what it imports."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from torchmodes.config.models import FAMILIES
from torchmodes.config.modes import ENGINES
from torchmodes.planning.conda import environment_file

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)(?: ; python_full_version >= '3\.12')?", re.MULTILINE)
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# Where the lock has two versions, that of Python 3.12; TensorRT is not in it.
LOCKED = dict(PIN.findall(LOCK + (ROOT / "requirements-tensorrt.in").read_text(encoding="utf-8")))
ENVIRONMENTS = {path.stem: path for path in sorted((ROOT / "envs").glob("*.yaml"))}
APART = {"onnxruntime-gpu", "tensorrt-cu13"}
"""What no file pins: the user installs the one or the other, or Torch-TensorRT brings it."""


def pins(environment: str) -> dict[str, str]:
    content = yaml.safe_load(ENVIRONMENTS[environment].read_text(encoding="utf-8"))
    return dict(pin.partition(";")[0].split("==") for pin in content["dependencies"][2]["pip"])


def case(family: str, engine: str, **files: str) -> dict[str, Any]:
    return {"model": {"family": family}, "mode": {"engine": engine} | files}


def chosen(*cases: dict[str, Any]) -> str:
    path = environment_file(cases)
    assert (ROOT / path).is_file()
    return path.stem


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_pin_is_that_of_the_lock(name: str) -> None:
    environment = yaml.safe_load(ENVIRONMENTS[name].read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][:2] == ["python=3.12", "pip"]
    assert list(pins(name)) == sorted(pins(name))
    for package, version in pins(name).items():
        assert LOCKED[package] == version


@pytest.mark.parametrize(("family", "engine"), list(product(FAMILIES, ENGINES)))
def test_a_case_runs_where_its_packages_are(family: str, engine: str) -> None:
    needed = {*FAMILIES[family].packages, *ENGINES[engine].packages}
    assert needed - APART <= pins(chosen(case(family, engine))).keys()


def test_an_environment_holds_no_more_than_its_cases_need() -> None:
    assert chosen(case("mlp", "compile")) == "torch"
    assert chosen(case("torchvision", "fx")) == "vision"
    assert chosen(case("transformers", "quantize")) == "language"
    assert chosen(case("torchvision", "onnxruntime")) == "onnx"
    assert not {"torchvision", "transformers", "onnx"} & pins("torch").keys()
    assert not {"transformers", "onnx"} & pins("vision").keys()
    assert not {"torchvision", "onnx"} & pins("language").keys()


def test_a_study_runs_where_all_its_cases_can() -> None:
    assert chosen() == "torch"
    assert chosen(case("mlp", "eager"), case("torchvision", "eager")) == "vision"
    assert chosen(case("transformers", "eager"), case("torchvision", "eager")) == "onnx"
    assert chosen(case("mlp", "onnxruntime"), case("mlp", "tensorrt")) == "tensorrt"
    for wider, narrower in (("onnx", "vision"), ("onnx", "language"), ("tensorrt", "onnx")):
        assert pins(narrower).items() <= pins(wider).items()


def test_code_of_the_users_may_bring_its_environment(tmp_path: Path) -> None:
    mode = case("torchvision", "user", factory=f"{tmp_path}/mine.py:prepare")
    assert chosen(mode) == "onnx"
    (tmp_path / "mine.env.yaml").touch()
    assert environment_file([mode, case("mlp", "eager")]) == tmp_path / "mine.env.yaml"
    other = case("mlp", "user", factory=f"{tmp_path}/other.py:prepare")
    assert environment_file([mode, other]) == tmp_path / "mine.env.yaml"
    (tmp_path / "other.env.yaml").touch()
    with pytest.raises(ValueError, match=r"several: .*mine\.env\.yaml, .*other\.env\.yaml"):
        environment_file([mode, other])


def test_every_rule_names_an_environment() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        rules = len(re.findall(r"^ *(?:rule|checkpoint)\b.*:$", text, re.MULTILINE))
        named = re.findall(
            r'conda:\n +(?:"\.\./envs/(\w+)\.yaml"|lambda \w+: conda_of\()', text, re.M
        )
        assert len(named) == rules, path
        assert set(named) - {""} <= ENVIRONMENTS.keys()


def test_the_lock_has_hashes_and_names_no_address() -> None:
    assert "://" not in LOCK
    assert LOCK.count("--hash=sha256:") >= len(PIN.findall(LOCK))
