"""Ceilings and the roofline: the arithmetic by hand, and the measuring on a clock of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import torch

from torchmodes.machine.peaks import best_rate, gemm_rate, measure_machine, stream_rates
from torchmodes.profiling.machine import machine_fingerprint
from torchmodes.profiling.reading import machine_or_reason
from torchmodes.profiling.roofline import Roof, place, roof_of, roofline

CASE = {
    "task": "inference",
    "device": "cpu",
    "model": "mlp",
    "mode": "eager",
    "precision": "fp32",
    "batch_size": 1,
}
MACHINE = {
    "status": "ok",
    "device": "cpu",
    "ceilings": [
        {
            "threads": threads,
            "flops_per_s": {"fp32": 50e9 * threads, "bf16": 1e9, "fp16": None},
            "copy_bytes_per_s": 8e9,
            "triad_bytes_per_s": 10e9,
        }
        for threads in (1, 2)
    ],
    "environment": {"fingerprint": "abc"},
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def summary(**told: Any) -> dict[str, Any]:
    return {
        "case": CASE,
        "status": "ok",
        "flops": 10**9,
        "compulsory_bytes": 10**9,
        "operator_bytes": 2 * 10**9,
        "unprofiled_step_s": 0.2,
    } | told


def test_a_roof_is_the_smaller_of_two_ceilings():
    roof = Roof(flops_per_s=100.0, bytes_per_s=10.0)
    assert roof.ridge == 10
    assert roof.attainable(5) == 50
    assert roof.attainable(20) == 100


def test_the_roof_is_that_of_the_threads_that_cases_use():
    assert roof_of(MACHINE, "fp32") == Roof(100e9, 10e9)
    assert roof_of(MACHINE, "fp16") is None
    # slower than fp32, to which it could be widened
    assert roof_of(MACHINE, "bf16") == roof_of(MACHINE, "fp32")
    assert roof_of({"status": "failed"}, "fp32") is None


def test_a_case_below_the_ridge_is_bound_by_memory():
    point = place("x", summary(), roof_of(MACHINE, "fp32"), median_s=None)
    # 1 operation a byte: 10 GFLOP/s allowed, 1 GFLOP in 0.2 s reached
    assert (point.intensity, point.bound, point.source) == (1, "memory", "profile")
    assert point.share == pytest.approx(5e9 / 10e9)


def test_a_measured_median_goes_before_the_profiles_own_calls():
    point = place("x", summary(compulsory_bytes=10**6), roof_of(MACHINE, "fp32"), median_s=0.0125)
    assert (point.bound, point.source, point.seconds) == ("compute", "record", 0.0125)
    assert point.share == pytest.approx(80e9 / 100e9)


@pytest.mark.parametrize(
    ("told", "machine", "reason"),
    [
        ({"status": "unsupported", "reason": "no compiler"}, MACHINE, "unsupported: no compiler"),
        ({"work_fault": "TypeError: no"}, MACHINE, "could not be counted: TypeError: no"),
        ({"flops": None}, MACHINE, "PyTorch counts no floating-point operations"),
        ({"compulsory_bytes": None}, MACHINE, "the bytes of this precision are not known"),
        ({}, {"status": "failed"}, "no measured peak"),
    ],
)
def test_a_case_without_a_place_says_why(told, machine, reason):
    found = roofline([summary(**told)], {"cpu": machine}, {})
    (point,) = found["points"]
    assert reason in point["reason"]
    assert point["share"] is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"status": "ok"}',
        '{"status": "ok", "ceilings": [{"threads": 2, "flops_per_s": [1]}]}',
        '{"status": "ok", "ceilings": [{"threads": 2, "flops_per_s": {"fp32": 0}}]}',
    ],
)
def test_a_machine_that_cannot_be_read_gives_no_roof_and_is_named(tmp_path, text):
    path = tmp_path / "cpu.json"
    path.write_text(text)
    told = machine_or_reason(path)
    assert told["status"] == "unreadable"
    assert told["reason"].startswith(f"{path} cannot be read (")
    (point,) = roofline([summary()], {"cpu": told}, {})["points"]
    assert point["reason"] == told["reason"]


def test_a_machine_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps(MACHINE))
    assert roof_of(machine_or_reason(path), "fp32") == roof_of(MACHINE, "fp32")


def test_the_roofline_keeps_the_ceilings_and_takes_medians_by_case():
    found = roofline([summary()], {"cpu": MACHINE}, {"inference/cpu/mlp/eager/fp32-b1": 0.1})
    assert found["points"][0]["seconds"] == 0.1
    assert found["machines"]["cpu"]["ceilings"] == MACHINE["ceilings"]
    assert "environment" not in found["machines"]["cpu"]


def test_the_best_repetition_counts_and_the_first_call_does_not():
    times = iter([0.0, 0.5, 1.0, 1.2, 2.0, 2.3])  # repetitions of 0.5, 0.2 and 0.3 s
    calls = count()
    rate = best_rate(lambda: next(calls), 10, "cpu", seconds=0.9, clock=lambda: next(times))
    assert rate == pytest.approx(10 / 0.2)
    assert next(calls) == 4


def test_this_machine_has_ceilings(monkeypatch, one_thread):
    monkeypatch.setattr("torchmodes.machine.peaks.SECONDS", 0.0)
    monkeypatch.setattr("torchmodes.machine.peaks.SIZES", {"cpu": (64, 128)})
    monkeypatch.setattr("torchmodes.machine.peaks.STREAM_BYTES", {"cpu": 2**16})
    assert gemm_rate("fp32", "cpu") > 1e6
    assert min(stream_rates("cpu")) > 1e6
    found = measure_machine({"device": "cpu", "threads": 1})
    (measured,) = found["ceilings"]
    assert measured["threads"] == 1
    assert {"fp32", "bf16", "fp16", "int8"} <= measured["flops_per_s"].keys()
    for precision, rate in measured["flops_per_s"].items():
        assert (rate is None) == (precision in measured["faults"])


def test_a_device_that_is_not_there_is_unsupported(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert measure_machine({"device": "cuda", "threads": 1})["status"] == "unsupported"


def test_the_fingerprint_ignores_packages_that_move_no_ceiling(monkeypatch):
    def found(versions):
        machine_fingerprint.cache_clear()
        monkeypatch.setattr("torchmodes.machine.environment.installed", lambda *names: versions)
        return machine_fingerprint()

    try:
        assert found({}) == found({"openvino": "2026.1"})
    finally:
        machine_fingerprint.cache_clear()


def test_the_fingerprint_ignores_how_many_threads_a_job_has(monkeypatch):
    before = machine_fingerprint()
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    machine_fingerprint.cache_clear()
    assert machine_fingerprint() == before
