"""Jobs: which compile cache they see, and what refuses them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from job_factory import make_job

from torchmodes.config.models import FAMILIES
from torchmodes.machine.environment import describe_environment
from torchmodes.measure.benchmark import record_of
from torchmodes.processes import jobs
from torchmodes.results.records import read_record, write_record


@pytest.mark.parametrize(("status", "kept"), [("ok", True), ("failed", False)])
def test_what_a_cold_start_compiled_serves_later_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, kept: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = Path(jobs.shared_compile_cache()["TORCHINDUCTOR_CACHE_DIR"])
    earlier.mkdir(parents=True)
    (earlier / "earlier.so").touch()
    seen = []

    def compile_something(target, job, *, log, environment):
        cache = Path(environment["TORCHINDUCTOR_CACHE_DIR"])
        seen.append(cache.exists() and any(cache.iterdir()))
        cache.mkdir()
        (cache / "kernel.so").touch()
        return {"status": status}, None

    monkeypatch.setattr(jobs, "run_job", compile_something)
    jobs.run_cold("some:target", make_job(), log=tmp_path / "log")
    assert seen == [False], "the cache was not empty at the start"
    assert {file.name for file in earlier.iterdir()} == {"earlier.so"} | (
        {"kernel.so"} if kept else set()
    )


def test_compiled_code_is_shared_with_no_other_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs.COMPILE_CACHE.mkdir(parents=True)
    jobs.COMPILE_CACHE.chmod(0o777)
    assert jobs.shared_compile_cache()
    assert jobs.COMPILE_CACHE.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert jobs.shared_compile_cache() == {}
    assert "compiled code is not shared: .cache" in caplog.text


def test_a_cache_that_is_a_link_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    jobs.COMPILE_CACHE.parent.mkdir()
    jobs.COMPILE_CACHE.symlink_to(tmp_path / "elsewhere")
    assert jobs.shared_compile_cache() == {}


def test_precompiled_headers_are_not_copied_to_the_shared_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def compile_something(target, job, *, log, environment):
        headers = Path(environment["TORCHINDUCTOR_CACHE_DIR"]) / jobs.HEADERS
        headers.mkdir(parents=True)
        (headers / "large.gch").touch()
        return {"status": "ok"}, None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "run_job", compile_something)
    jobs.run_cold("some:target", make_job(), log=tmp_path / "log")
    assert not list(jobs.COMPILE_CACHE.rglob("*.gch"))


IMPORTS_WITH_A_GPU = """
import importlib, json, os, sys, traceback
import torch

def touched():
    calls = [frame.name for frame in traceback.extract_stack()]
    sys.exit("CUDA was initialised: " + " < ".join(reversed(calls[-4:])))

torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda._lazy_init = touched
of_all, of_families = json.loads(sys.argv[1])
for module in of_all:
    importlib.import_module(module)
for family, modules in of_families.items():
    if (child := os.fork()) == 0:
        for module in modules:
            importlib.import_module(module)
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"the imports of {family}")
"""


def test_what_a_fork_server_imports_does_not_initialise_a_gpu() -> None:
    """torchao, installed here, does when it is imported; so does all that imports it."""
    families = {name: section.preloadable(gpu=True) for name, section in FAMILIES.items()}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_WITH_A_GPU, json.dumps([jobs.PRELOAD, families])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]


def test_without_a_gpu_a_fork_server_imports_all_that_is_slow() -> None:
    assert "transformers.modeling_utils" in FAMILIES["transformers"].preloadable(gpu=False)


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a copy stop half-way."""

    def half(source: str, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copy2", half)


def test_a_cache_that_cannot_be_kept_costs_no_result_and_leaves_no_part(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    no_space: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def compile_something(target, job, *, log, environment):
        cache = Path(environment["TORCHINDUCTOR_CACHE_DIR"])
        cache.mkdir()
        (cache / "kernel.so").touch()
        return {"status": "ok"}, None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "run_job", compile_something)
    assert jobs.run_cold("some:target", make_job(), log=tmp_path / "log") == (
        {"status": "ok"},
        None,
    )
    assert "No space left on device" in caplog.text
    assert not [path for path in jobs.COMPILE_CACHE.rglob("*") if path.is_file()]


@pytest.fixture
def run_faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run one of the faulty targets in the process of a job."""
    monkeypatch.setattr(jobs, "PRELOAD", ())
    monkeypatch.syspath_prepend(Path(__file__).parent / "targets")

    def run(target: str, log: Path) -> Any:
        return jobs.run_process(
            f"faulty_targets:{target}",
            {"bytes": "\xff\xfe"},
            limits=make_job().measurement,
            threads=1,
            log=log,
        )

    return run


def test_a_case_whose_monitor_was_killed_is_no_result_and_no_failure_of_its_mode(
    run_faulty: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(jobs.SupervisorLost, match="its monitor did; run snakemake again"):
        run_faulty("kills_its_monitor", tmp_path / "log")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("raises_no_text", "no such file"),
        ("returns_no_text", r"\udc80"),
        ("raises", "the first line"),
    ],
)
def test_a_crash_is_a_record_whatever_its_texts_are(
    target: str, reason: str, run_faulty: Callable[..., Any], tmp_path: Path
) -> None:
    """Not that of what no record can hold: its reason is the crash's own."""
    parts, outcome = run_faulty(target, tmp_path / os.fsdecode(b"log\xff"))
    record = record_of(
        parts,
        outcome,
        make_job(),
        started_at=datetime.now(UTC),
        environment=describe_environment(),
    )
    assert record.status == "failed"
    assert (record.reason or "").startswith(reason)
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record


def test_operators_that_could_not_be_built_refuse_a_case_with_reason_and_remedy_alone(
    tmp_path: Path,
) -> None:
    told = {"status": "unsupported", "reason": "no compiler", "remedy": "install g++"}
    (tmp_path / "build.json").write_text(json.dumps({**told, "seconds": 0.01}))
    assert jobs.operators_missing(tmp_path / "operators.so") == told
    (tmp_path / "build.json").write_text(json.dumps({"status": "ok", "seconds": 9.0}))
    assert jobs.operators_missing(tmp_path / "operators.so") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"status": 1}'])
def test_what_tells_nothing_of_the_operators_fails_the_case_by_name(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "build.json").write_text(text)
    told = jobs.operators_missing(tmp_path / "operators.so")
    assert told is not None
    assert told["status"] == "failed"
    assert told["reason"].startswith(f"{tmp_path / 'build.json'} cannot be read (")
    assert told["remedy"] == "delete it and run snakemake again"
