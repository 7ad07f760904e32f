"""The conda environments of the rules carry the versions of requirements.lock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)(?: ; python_full_version >= '3\.12')?", re.MULTILINE)
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = dict(PIN.findall(LOCK))  # where the lock has two versions, that of Python 3.12
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_every_pin_is_that_of_the_lock(path: Path) -> None:
    environment = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][:2] == ["python=3.12", "pip"]
    pins = environment["dependencies"][2]["pip"]
    assert pins == sorted(pins)
    for pin in pins:
        name, version = pin.split("==")
        assert LOCKED[name] == version, pin


def test_every_rule_has_an_environment_that_exists() -> None:
    rules = [path for path in (ROOT / "rules").glob("*.smk") if path.stem != "common"]
    for path in rules:
        text = path.read_text(encoding="utf-8")
        environments = re.findall(r'conda:\s+"\.\./envs/(\w+)\.yaml"', text)
        assert len(environments) == len(re.findall(r"^rule ", text, re.MULTILINE)), path
        assert {ROOT / "envs" / f"{name}.yaml" for name in environments} <= set(ENVIRONMENTS)


def test_the_lock_has_hashes_and_names_no_address() -> None:
    assert "://" not in LOCK
    assert LOCK.count("--hash=sha256:") >= len(LOCKED)
