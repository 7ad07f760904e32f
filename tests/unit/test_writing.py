"""Results are written whole, and a full disk is told rather than suffered."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from torchmodes.processes.joblog import job_log
from torchmodes.results.writing import encodable, write_atomically

ROOT = Path(__file__).parents[2]


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


def test_no_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    """`make compare ARGS="--html /dev/null"` as root; a link stands for it here."""
    nothing = tmp_path / "null"
    nothing.symlink_to(os.devnull)
    write_atomically(nothing, "a page")
    assert nothing.is_symlink()


def test_what_a_killed_writer_left_goes_when_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "fp32-b1[1].json"
    for left in (".17846", ".bak"):
        file.with_name(f".{file.name}{left}").write_text("{")
    file.with_name(".fp32-b1.json.17846").write_text("another's")
    write_atomically(file, "{}")
    assert {path.name for path in tmp_path.iterdir()} == {
        file.name,
        f".{file.name}.bak",
        ".fp32-b1.json.17846",
    }


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


def test_who_interrupts_a_job_is_told_no_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(SystemExit, match="130"), job_log(log):
        raise KeyboardInterrupt
    assert log.read_text().endswith("the job was interrupted\n")


# --- Whatever the locale ---------------------------------------------------------------------

PRINTS = r"""
import logging, sys
from pathlib import Path
from torchmodes.processes.joblog import job_log
from torchmodes.results.writing import tell

with job_log(sys.argv[1]) as logger:
    Path(sys.argv[2]).write_text("the record")
    tell("1.02\u00d7 \udcff \u2713")
    print("2\u00d7 \udcff")
    logger.warning("slower by 0.9\u00d7 \udcff")
"""
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "koi8-r": {"PYTHONIOENCODING": "koi8-r"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict"},
    "no locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}


def print_with(tmp_path: Path, variables: dict[str, str], **where: Any) -> tuple[int, str, str]:
    """Let a job write a record and print; return its status, what it printed and what it logged."""
    files = [str(tmp_path / name) for name in ("log", "record")]
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, *files],
        **{"stdout": subprocess.PIPE, **where},
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (tmp_path / "record").read_text() == "the record"
    printed = (done.stdout or b"").decode("latin-1")
    return done.returncode, printed, (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_letter_that_the_terminal_lacks_is_escaped(name: str, tmp_path: Path) -> None:
    status, printed, logged = print_with(tmp_path, ENCODINGS[name])
    assert status == 0
    assert "1.02" in printed
    assert r"\udcff" in printed
    assert r"slower by 0.9× \udcff" in logged


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' /dev/full")
def test_output_on_a_full_disk_costs_no_record(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        status, _, logged = print_with(tmp_path, {}, stdout=full)
    assert status == 0
    assert "not printed ([Errno 28] No space left on device): 1.02" in logged


def test_a_reader_that_has_gone_costs_no_record(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    status, _, logged = print_with(tmp_path, {}, stdout=writing)
    os.close(writing)
    assert status == 0
    assert "not printed ([Errno 32] Broken pipe)" in logged


def test_a_text_of_any_bytes_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "page.html", "<p>\udcff</p>")
    assert (tmp_path / "page.html").read_text() == r"<p>\udcff</p>"
    told = {"a\ud800": ["b\udfff", {"c": 1.5}, None, True], "d": ("e\x00", "ü")}
    assert encodable(told) == {
        r"a\ud800": [r"b\udfff", {"c": 1.5}, None, True],
        "d": ["e\x00", "ü"],
    }
