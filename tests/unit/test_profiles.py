"""The cluster profiles know every rule that measures, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from torchmodes.config.run import Measurement

ROOT = Path(__file__).parents[2]
RULE = re.compile(r"^ *rule ?(\w*):\n(.*?)(?=^ *rule\b|\Z)", re.MULTILINE | re.DOTALL)
RUNS = Measurement().runs


def measuring_rules() -> set[str]:
    rules = {
        name
        for file in (ROOT / "rules").glob("*.smk")
        for name, body in RULE.findall(file.read_text(encoding="utf-8"))
        if "machine=100" in body
    }
    assert "" in rules, "that of each run, named in a loop"
    runs = {"benchmark_case", *(f"benchmark_case_{number}" for number in range(2, RUNS + 1))}
    return rules - {""} | runs


@pytest.mark.parametrize(
    ("profile", "resource"), [("slurm", "slurm_extra"), ("kubernetes", "gpu_manufacturer")]
)
def test_a_cluster_profile_covers_every_measuring_rule(profile: str, resource: str) -> None:
    text = (ROOT / f"profiles/{profile}/profile.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    rules = measuring_rules()
    assert set(settings["set-threads"]) == rules
    assert {name for name, told in settings["set-resources"].items() if resource in told} == rules
    assert "resources" not in settings, "a limit on `machine` would be one for the whole cluster"
