"""Faults are data: whatever a mode does, its record says so and every other case is there."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from workflow.conftest import Workflow, copy_repository

from torchmodes.config.run import Studies
from torchmodes.results.records import Record, read_record

pytestmark = pytest.mark.workflow
CONFIGS = ("--configfile", "config/smoke.yaml", "faults.yaml")
FAULTY = Path(__file__).with_name("faulty.py")
EXPECTED = {
    "raises": ("failed", "RuntimeError", "this mode always raises"),
    "segfaults": ("failed", "SIGSEGV", "SIGSEGV"),
    "is_killed": ("failed", "SIGKILL", "SIGKILL"),
    "hangs": ("failed", "TimeLimit", "12"),
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
        "studies": {study: [] for study in Studies.model_fields},
        "measurement": {"time_limit_s": 12.0, "memory_limit_mb": 2000},
    }
    (folder / "faults.yaml").write_text(json.dumps(config))


def record_of(workflow: Workflow, mode: str) -> Record:
    path = f"results/benchmark/inference/cpu/house_price/{mode}/fp32-b64.json"
    return read_record(workflow.folder / path)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A copy in which every fault has happened."""
    workflow = copy_repository(tmp_path_factory.mktemp("faulty") / "torch modes")
    write_config(workflow.folder)
    ran = workflow.run("reports/summary.md", *CONFIGS)
    assert ran.returncode == 0, ran.stdout
    return workflow


def test_every_fault_is_a_record_and_nothing_is_left_behind(faulty: Workflow) -> None:
    for mode, (status, error_type, message) in EXPECTED.items():
        record = record_of(faulty, mode)
        assert record.status == status, record.in_brief()
        if error_type is not None:
            assert record.failure is not None
            assert record.failure.type == error_type
        assert message in (record.reason or ""), record.in_brief()
        assert (record.verdict is None) == (status != "ok")
    assert record_of(faulty, "eager").status == "ok"
    summary = (faulty.folder / "reports/summary.md").read_text()
    for mode in EXPECTED:
        assert mode in summary
    until = time.monotonic() + 10  # the fork server looks for the workflow's end now and then
    while faulty.left_over() and time.monotonic() < until:
        time.sleep(0.2)
    assert faulty.left_over() == []


def test_strict_ends_with_an_error_that_names_the_cases(faulty: Workflow) -> None:
    """And measures first what is not measured yet."""
    for made in ("runs", "benchmark"):
        for path in (faulty.folder / "results" / made).rglob("is_right"):
            shutil.rmtree(path)
    ran = faulty.run("results/accepted.json", *CONFIGS, "--config", "strict=true")
    assert ran.returncode != 0
    assert "house_price/raises/fp32-b64  failed: this mode always raises" in ran.stdout
    assert record_of(faulty, "is_right").status == "ok"
