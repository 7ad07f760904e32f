"""Results are written whole, and a full disk is told rather than suffered."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
