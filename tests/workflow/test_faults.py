"""Faults are data: whatever a mode does, its record says so and every other case is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from workflow.conftest import Workflow

from torchmodes.results.records import Record, read_record

pytestmark = pytest.mark.workflow
FAULTY = Path(__file__).with_name("faulty.py")
EXPECTED = {
    "raises": ("failed", "RuntimeError", "this mode always raises"),
    "segfaults": ("failed", "SIGSEGV", "SIGSEGV"),
    "is_killed": ("failed", "SIGKILL", "SIGKILL"),
    "hangs": ("failed", "TimeLimit", "20"),
    "hoards": ("failed", "MemoryLimit", ""),
    "returns_nan": ("wrong", None, ""),
    "returns_another_shape": ("wrong", None, "shape"),
    "is_one_percent_off": ("wrong", None, ""),
    "is_right": ("ok", None, ""),
}


def write_config(folder: Path) -> None:
    (folder / "faulty.py").write_text(FAULTY.read_text())
    config = {
        "modes": {name: {"engine": "user", "factory": f"faulty.py:{name}"} for name in EXPECTED},
        "benchmark": [
            {
                "task": "inference",
                "models": ["house_price"],
                "modes": ["eager", *EXPECTED],
                "batch_sizes": [64],
                "devices": ["cpu"],
            }
        ],
        "training": {"modes": ["eager"]},
        "profile": {"cases": []},
        "measurement": {"time_limit_s": 20.0, "memory_limit_mb": 2000},
    }
    (folder / "faults.yaml").write_text(json.dumps(config))


def record_of(workflow: Workflow, mode: str) -> Record:
    path = f"results/benchmark/inference/cpu/house_price/{mode}/fp32-b64.json"
    return read_record(workflow.folder / path)


def test_every_fault_is_a_record_and_nothing_is_left_behind(fresh: Workflow) -> None:
    write_config(fresh.folder)
    ran = fresh.run("reports/summary.md", "--configfile", "config/smoke.yaml", "faults.yaml")
    assert ran.returncode == 0, ran.stdout
    for mode, (status, error_type, message) in EXPECTED.items():
        record = record_of(fresh, mode)
        assert record.status == status, record.in_brief()
        if error_type is not None:
            assert record.failure is not None
            assert record.failure.type == error_type
        assert message in (record.reason or ""), record.in_brief()
        assert (record.verdict is None) == (status != "ok")
    assert record_of(fresh, "eager").status == "ok"
    summary = (fresh.folder / "reports/summary.md").read_text()
    for mode in EXPECTED:
        assert mode in summary
    until = time.monotonic() + 10  # the fork server looks for the workflow's end now and then
    while fresh.left_over() and time.monotonic() < until:
        time.sleep(0.2)
    assert fresh.left_over() == []


def test_strict_ends_with_an_error_that_names_the_cases(fresh: Workflow) -> None:
    write_config(fresh.folder)
    faults = json.loads((fresh.folder / "faults.yaml").read_text())
    faults["strict"] = True
    faults["benchmark"][0]["modes"] = ["raises", "is_right"]
    (fresh.folder / "faults.yaml").write_text(json.dumps(faults))
    ran = fresh.run("results/accepted.json", "--configfile", "config/smoke.yaml", "faults.yaml")
    assert ran.returncode != 0
    assert "house_price/raises/fp32-b64  failed: this mode always raises" in ran.stdout
    assert record_of(fresh, "is_right").status == "ok"
