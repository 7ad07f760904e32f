"""Results are written whole, and a full disk is told rather than suffered."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from torchmodes.joblog import job_log
from torchmodes.writing import RESERVED_BYTES, reserve, write_atomically


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 256 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_whole(small_disk: Path) -> None:
    path = small_disk / "record.json"
    write_atomically(path, "old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "x" * 300_000)
    assert path.read_text() == "old"
    assert [p.name for p in small_disk.iterdir()] == ["record.json"]


def test_what_a_killed_writer_left_goes_when_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "fp32-b1[1].json"
    for left in (".17846", ".reserved"):
        file.with_name(f".{file.name}{left}").write_text("{")
    file.with_name(".fp32-b1.json.17846").write_text("another's")
    write_atomically(file, "{}")
    assert {path.name for path in tmp_path.iterdir()} == {
        file.name,
        f".{file.name}.reserved",
        ".fp32-b1.json.17846",
    }


def test_the_reserved_space_tells_the_failure_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "record.json"
    with reserve(path) as reservation:
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * 300_000)
        assert not reservation.write("y" * 20_000, otherwise='{"status": "failed"}')
    assert path.read_text() == '{"status": "failed"}'
    assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "record.json"]


def test_with_space_the_text_itself_is_written(tmp_path: Path) -> None:
    with reserve(tmp_path / "a" / "record.json") as reservation:
        assert reservation.space.stat().st_size == RESERVED_BYTES
        assert reservation.write("whole", otherwise="short")
    assert (tmp_path / "a" / "record.json").read_text() == "whole"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full: free some space and run snakemake again"),
        (errno.EROFS, "a/b.json cannot be written (Read-only file system)"),
        (errno.EACCES, "a/b.json cannot be written (Permission denied)"),
    ],
)
def test_a_fault_of_the_disk_is_one_line_for_the_user(
    tmp_path: Path, number: int, told: str
) -> None:
    log = tmp_path / "log"
    with pytest.raises(SystemExit, match=re.escape(f"Error: {told}")), job_log(log):
        raise OSError(number, os.strerror(number), "a/b.json")
    assert "Traceback" in log.read_text(), "the log keeps it"


def test_another_fault_of_the_system_is_no_message_but_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), job_log(tmp_path / "log"):
        raise ConnectionError(errno.ECONNRESET, "reset by peer")
