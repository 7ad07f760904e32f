"""Temporary folders are private, and what a killed process left goes with the next start."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from torchmodes.processes import folders, jobs
from torchmodes.processes.folders import private_folder

ROOT = Path(__file__).parents[2]
HOLDS = """\
import sys, time
from pathlib import Path
from torchmodes.processes.folders import private_folder

with private_folder("cache-", place=Path(sys.argv[1])) as folder:
    (folder / "inductor").mkdir()
    (folder / "inductor" / "kernel.so").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def holder(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has a folder in `place`; return it with its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(place)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_this_users_alone_and_goes_at_the_end(tmp_path: Path) -> None:
    with private_folder("cache-", place=tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.name.startswith("torchmodes-cache-")
        (folder / "file").touch()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_with_the_next_and_nothing_else(tmp_path: Path) -> None:
    living, kept = holder(tmp_path)
    killed, left = holder(tmp_path)
    killed.kill()
    killed.wait()
    clone = tmp_path / "torchmodes-main"  # somebody's own folder of that name
    (clone / "work").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / folders.MARK).touch()
    (elsewhere / "work").touch()
    link = tmp_path / "torchmodes-link"
    link.symlink_to(elsewhere)
    assert (left / "inductor" / "kernel.so").exists()
    with private_folder(place=tmp_path):
        assert not left.exists()
        assert (kept / "inductor" / "kernel.so").exists()
    living.kill()
    living.wait()
    assert (clone / "work").exists()
    assert (elsewhere / "work").exists()


def test_a_folder_that_another_start_took_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = folders.fcntl.flock
    seen: list[Path] = []

    def after_another(descriptor: int, operation: int) -> None:
        if not seen:  # between the making of the mark and its locking
            seen.extend(tmp_path.iterdir())
            folders.remove(seen[0])
        lock(descriptor, operation)

    monkeypatch.setattr(folders.fcntl, "flock", after_another)
    with private_folder(place=tmp_path) as folder:
        assert folder.exists()
        assert folder != seen[0]


def test_without_locks_a_folder_is_never_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folders.fcntl, "flock", none)
    with private_folder(place=tmp_path) as folder:
        monkeypatch.undo()
        folders.remove_abandoned(tmp_path)
        assert folder.exists()


def test_a_job_that_was_killed_leaves_its_cold_cache_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, left = holder(tmp_path)
    killed.kill()
    killed.wait()
    monkeypatch.setattr(jobs, "run_job", lambda *_, **__: ({"status": "failed"}, None))
    jobs.run_cold("some:target", {}, log=tmp_path / "log")
    assert not left.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can leave another user's folder")
def test_another_users_folder_stays(tmp_path: Path) -> None:
    left = tmp_path / "torchmodes-of-another"
    left.mkdir()
    (left / folders.MARK).touch()
    os.chown(left, 65534, 65534)
    with private_folder(place=tmp_path):
        pass
    assert left.exists()
