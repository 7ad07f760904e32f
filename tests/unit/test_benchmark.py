"""Whose noise floor a case is judged against when a cluster has several nodes."""

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
from torchmodes.results.records import Record, read_record

ROOT = Path(__file__).parents[2]
CASE = "inference/cpu/house_price/{}/fp32-b64"


def node(host: str = "bench-1", *, cpu: str = "Example CPU 3.0 GHz", cores: int = 2) -> dict:
    environment = deepcopy(ENVIRONMENT)
    environment["machine"] |= {"host": host, "cpu": cpu, "cores_usable": cores}
    return environment


GPU_NODE = node() | {"gpu": {"name": "H100"}}


def measured_on(here: dict[str, Any], there: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """Return the floor that a case's process was given here, and the warnings of its record."""
    given = {}

    def run_cold(target, job, *, log, noise_floor):
        given["noise_floor"] = noise_floor
        record = make_record(CASE.format("fx")).model_dump(mode="json")
        own = ("schema_version", "case", "parameters", "run", "environment")
        return {key: value for key, value in record.items() if key not in own}, None

    monkeypatch.setattr(benchmark, "run_cold", run_cold)
    monkeypatch.setattr(benchmark, "describe_environment", lambda: here)
    monkeypatch.setattr(benchmark, "look", lambda pid: Load(0.0, 0.0, 0.0, 2.0))
    aa = make_record(CASE.format("eager"), environment=there)
    record = benchmark.benchmark_case(
        make_job(CASE.format("fx"), threads=2), log=Path("log"), aa=aa
    )
    return given["noise_floor"], record.warnings


def test_an_aa_case_of_this_machine_gives_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    floor, warnings = measured_on(node(), node(), monkeypatch)
    assert 0 < floor < 0.05
    assert warnings == []


def test_an_aa_case_of_an_equal_node_gives_it_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    floor, warnings = measured_on(node(), node("bench-2"), monkeypatch)
    assert 0 < floor < 0.05
    assert warnings == ["the noise floor is that of bench-2, which has the same hardware"]


@pytest.mark.parametrize("there", [node("other", cpu="Other CPU"), node(cores=8), GPU_NODE])
def test_an_aa_case_of_other_hardware_gives_none(
    there: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    floor, (warning,) = measured_on(node(), there, monkeypatch)
    assert floor is None
    host = there["machine"]["host"]
    assert warning == (
        f"no noise floor: the A/A case of this group was measured on other hardware, on {host}"
    )


@pytest.mark.parametrize(
    ("aa", "why"),
    [
        (make_record(CASE.format("eager"), status="failed"), "has no result"),
        (make_record(CASE.format("eager"), blocks=1), "has too few blocks for an interval"),
        (make_record(CASE.format("eager"), blocks=3, noise=2.0), "is too noisy to say anything"),
        (make_record(CASE.format("eager")), "was measured with 2 threads, not 4"),
        (make_record(CASE.format("eager"), environment={"gpu": []}), "on other hardware"),
    ],
)
def test_an_aa_case_that_says_nothing_of_this_one_gives_none(aa: Record, why: str) -> None:
    floor, (warning,) = benchmark.floor_here(aa, node(), 4 if "threads" in why else 2)
    assert floor is None
    assert why in warning


def test_what_no_record_can_hold_is_a_failed_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_cold(target, job, *, log, noise_floor):
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

    def run_cold(target, job, *, log, noise_floor):
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
        output=[str(path)],
        log=[str(tmp_path / "log")],
        threads=2,
        params=SimpleNamespace(case=make_job(CASE.format("fx")).parameters, limits={}),
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        runpy.run_path(str(ROOT / "scripts/benchmark_case.py"), {"snakemake": job})
    assert read_record(path).reason == "r"
    assert "not printed ([Errno 32] Broken pipe): other programs" in (tmp_path / "log").read_text()
