"""Jobs: which compile cache they see, and what refuses them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from torchmodes import jobs


@pytest.mark.parametrize(("status", "kept"), [("ok", True), ("failed", False)])
def test_what_a_cold_start_compiled_serves_later_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, kept: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = Path(jobs.shared_compile_cache()["TORCHINDUCTOR_CACHE_DIR"])
    earlier.mkdir(parents=True)
    (earlier / "earlier.so").touch()
    seen = []

    def compile_something(target, argument, *, log, environment):
        cache = Path(environment["TORCHINDUCTOR_CACHE_DIR"])
        seen.append(cache.exists() and any(cache.iterdir()))
        cache.mkdir()
        (cache / "kernel.so").touch()
        return {"status": status}, None

    monkeypatch.setattr(jobs, "run_job", compile_something)
    jobs.run_cold("some:target", {}, log=tmp_path / "log")
    assert seen == [False], "the cache was not empty at the start"
    assert {file.name for file in earlier.iterdir()} == {"earlier.so"} | (
        {"kernel.so"} if kept else set()
    )


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
    def compile_something(target, argument, *, log, environment):
        cache = Path(environment["TORCHINDUCTOR_CACHE_DIR"])
        cache.mkdir()
        (cache / "kernel.so").touch()
        return {"status": "ok"}, None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "run_job", compile_something)
    assert jobs.run_cold("some:target", {}, log=tmp_path / "log") == ({"status": "ok"}, None)
    assert "No space left on device" in caplog.text
    assert not [path for path in jobs.COMPILE_CACHE.rglob("*") if path.is_file()]


def test_operators_that_could_not_be_built_refuse_a_case_with_reason_and_remedy_alone(
    tmp_path: Path,
) -> None:
    told = {"status": "unsupported", "reason": "no compiler", "remedy": "install g++"}
    (tmp_path / "build.json").write_text(json.dumps({**told, "seconds": 0.01}))
    assert jobs.operators_missing(str(tmp_path / "operators.so")) == told
    (tmp_path / "build.json").write_text(json.dumps({"status": "ok", "seconds": 9.0}))
    assert jobs.operators_missing(str(tmp_path / "operators.so")) is None
