"""Runs from outside: how their processes start, and what becomes of how those end."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from job_factory import make_job
from record_factory import ENVIRONMENT, make_record

from torchmodes.measure import benchmark
from torchmodes.measure.load import Load
from torchmodes.results.records import read_record

ROOT = Path(__file__).parents[2]
CASE = "inference/cpu/house_price/{}/fp32-b64"


def node(host: str = "bench-1", *, cpu: str = "Example CPU 3.0 GHz", cores: int = 2) -> dict:
    environment = deepcopy(ENVIRONMENT)
    environment["machine"] |= {"host": host, "cpu": cpu, "cores_usable": cores}
    return environment


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How processes are started, which measure nothing here."""
    ways: list[str] = []

    def start(way: str) -> Any:
        def run(
            target: str, job: Any, *, log: Path, first: bool = True
        ) -> tuple[dict[str, Any], None]:
            assert first is (way == "cold")
            ways.append(way)
            record = make_record(CASE.format("fx")).model_dump(mode="json")
            own = ("schema_version", "case", "parameters", "run", "runs", "environment")
            return {key: value for key, value in record.items() if key not in own}, None

        return run

    monkeypatch.setattr(benchmark, "run_cold", start("cold"))
    monkeypatch.setattr(benchmark, "run_warm", start("warm"))
    monkeypatch.setattr(benchmark, "describe_environment", node)
    monkeypatch.setattr(benchmark, "look", lambda pid: Load(0.0, 0.0, 0.0, 2.0))
    return ways


def test_the_first_run_is_cold_and_the_others_start_from_what_it_compiled(
    started: list[str],
) -> None:
    job = make_job(CASE.format("fx"), threads=2)
    first = benchmark.benchmark_case(job, log=Path("log"))
    later = benchmark.benchmark_case(job, log=Path("log"), first=first)
    assert (first.status, later.status) == ("ok", "ok")
    assert started == ["cold", "warm"]


@pytest.mark.parametrize("status", ["wrong", "failed", "unsupported"])
def test_where_the_first_run_is_not_ok_no_other_is_made(started: list[str], status: Any) -> None:
    first = make_record(CASE.format("fx"), status=status)
    later = benchmark.benchmark_case(make_job(CASE.format("fx")), log=Path("log"), first=first)
    assert later == first
    assert started == []


def test_what_no_record_can_hold_is_a_failed_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_cold(target, job, *, log):
        record = make_record(CASE.format("fx")).model_dump(mode="json")
        record["statistics"]["candidate"]["min_s"] = 0.0
        return {name: record[name] for name in ("status", "samples", "statistics")}, None

    monkeypatch.setattr(benchmark, "run_cold", run_cold)
    monkeypatch.setattr(benchmark, "describe_environment", node)
    record = benchmark.benchmark_case(make_job(CASE.format("fx"), threads=2), log=Path("log"))
    assert record.status == "failed"
    assert record.reason is not None
    assert "statistics.candidate.min_s: should be greater than" in record.reason


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (0.05, []),
        (
            1.0,
            [
                (
                    "other programs keep 1.0 of 2 cores busy, and this case computes with 2: while"
                    " that lasts there will be no verdict. Stop them, or ask for fewer cores."
                )
            ],
        ),
    ],
)
def test_a_busy_machine_is_told_before_anything_is_measured(
    others: float, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def run_cold(target, job, *, log):
        assert said == told
        return {"status": "failed", "reason": "it is not what this is about"}, None

    monkeypatch.setattr(benchmark, "run_cold", run_cold)
    monkeypatch.setattr(benchmark, "describe_environment", node)
    monkeypatch.setattr(benchmark, "look", lambda pid: Load(0.0, others, 0.0, 2.0))
    record = benchmark.benchmark_case(
        make_job(CASE.format("fx"), threads=2), log=Path("log"), tell=said.append
    )
    assert record.run.other_load_at_start == others


def test_what_is_told_before_a_case_costs_no_record_where_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job as Snakemake runs it, on a busy machine, into a pipe whose reader has gone."""
    monkeypatch.setattr(
        benchmark,
        "run_cold",
        lambda *_, **__: ({"status": "failed", "reason": "r", "remedy": "w"}, None),
    )
    monkeypatch.setattr(benchmark, "describe_environment", node)
    monkeypatch.setattr(benchmark, "look", lambda pid: Load(0.0, 1.0, 0.0, 2.0))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the lock lies
    path = tmp_path / make_record(CASE.format("fx")).identity.record
    job = SimpleNamespace(
        input={},
        output=[str(path), str(tmp_path / "shipped")],
        log=[str(tmp_path / "log")],
        threads=2,
        wildcards={"number": "1"},
        params=SimpleNamespace(case=make_job(CASE.format("fx")).parameters, limits={}),
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        runpy.run_path(str(ROOT / "scripts/benchmark_case.py"), {"snakemake": job})
    assert read_record(path).reason == "r"
    assert "not printed ([Errno 32] Broken pipe): other programs" in (tmp_path / "log").read_text()
