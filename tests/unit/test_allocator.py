"""Allocators: what a process starts with, what refuses one, and that it is really there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from job_factory import make_job

from torchmodes.config.run import Measurement
from torchmodes.processes import allocator, jobs


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that this process has not loaded, as if it were jemalloc."""
    name = "libanl.so.1"
    found = {"jemalloc": name}
    monkeypatch.setattr(allocator, "find_library", found.get)
    return name


def test_as_is_nothing_is_set() -> None:
    assert allocator.allocator_environment("system") == {}
    assert allocator.allocator_missing("system") is None
    assert allocator.allocator_not_loaded("system") is None


def test_one_that_is_not_here_is_unsupported_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(allocator, "find_library", lambda _: None)
    job = make_job(measurement=Measurement(allocator="tcmalloc"))
    parts, outcome = jobs.run_job("some:target", job, log=tmp_path / "log")
    assert outcome is None
    assert parts["status"] == "unsupported"
    assert parts["reason"] == "the allocator tcmalloc is not available here"
    assert parts["remedy"] == "install it (Debian: apt-get install libtcmalloc-minimal4)"


def test_glibc_alone_can_be_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    refusal = allocator.allocator_missing("glibc-tuned")
    assert refusal is not None
    assert "only glibc's can be tuned" in refusal["remedy"]


def test_a_library_is_preloaded_before_those_of_the_user(
    monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    assert allocator.allocator_environment("jemalloc") == {"LD_PRELOAD": installed}
    monkeypatch.setenv("LD_PRELOAD", "libmine.so")
    assert allocator.allocator_environment("jemalloc") == {"LD_PRELOAD": f"{installed}:libmine.so"}


def test_a_process_without_it_says_so(installed: str) -> None:
    assert installed in (allocator.allocator_not_loaded("jemalloc") or "")


def test_the_process_of_a_job_starts_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def started(*_: object, environment: dict[str, str], **__: object):
        return {"status": "ok", "environment": environment}, None

    monkeypatch.setattr(jobs, "run_process", started)
    job = make_job(measurement=Measurement(allocator="glibc-tuned"))
    parts, _ = jobs.run_job("some:target", job, log=tmp_path / "log", environment={"A": "b"})
    assert parts["environment"] == {**allocator.KEEPS_MEMORY, "A": "b"}


CHURN = """
import resource
def touch():
    bytearray(24 * 2**20)
for _ in range(3): touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): touch()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_tuned_glibc_keeps_memory_that_it_gives_back_otherwise() -> None:
    """24 MiB a call, as 6,144 pages: glibc maps them anew each time, or keeps them."""

    def faults(environment: dict[str, str]) -> float:
        command = [sys.executable, "-c", CHURN]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return float(told.stdout)

    fixed = {"MALLOC_MMAP_THRESHOLD_": "131072"}  # as at the start, and it stays
    assert faults(fixed) > 1000
    assert faults({**allocator.KEEPS_MEMORY}) < 100
