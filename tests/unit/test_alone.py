"""Measurements from different folders take turns; who holds the machine cannot take it along."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from torchmodes.processes import machine_lock as alone
from torchmodes.processes.jobs import SupervisorLost
from torchmodes.processes.machine_lock import alone_on_machine, lock_file

ROOT = Path(__file__).parents[2]
HOLD = """\
import logging, sys, time
from pathlib import Path
from torchmodes.processes.machine_lock import alone_on_machine

logging.basicConfig()
with alone_on_machine(Path(sys.argv[1])):
    print("held", flush=True)
    {then}
"""


def start(then: str, lock: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(then=then), str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def hold(lock: Path) -> subprocess.Popen[str]:
    holder = start("time.sleep(600)", lock)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_waits_says_so_and_begins_when_the_first_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first = hold(lock)
    second = start("pass", lock)
    assert second.stdout is not None
    assert second.stderr is not None
    told = second.stderr.readline()
    assert "another measurement runs on this machine" in told
    assert str(lock) in told
    assert second.poll() is None
    first.kill()
    assert second.wait(timeout=60) == 0
    assert second.stdout.read() == "held\n"


def test_a_job_whose_workflow_was_killed_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["sleep", "60"])
    workflow = psutil.Process(ended.pid)
    monkeypatch.setattr(alone, "workflow_process", lambda: workflow)
    with alone_on_machine(tmp_path / "lock"):
        ended.kill()
        ended.wait()
    with (
        pytest.raises(SupervisorLost, match="run snakemake again"),
        alone_on_machine(tmp_path / "lock"),
    ):
        pytest.fail("it began")


def test_without_a_place_for_the_lock_the_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = []
    with alone_on_machine(tmp_path / "missing" / "lock"):
        done.append(1)
    assert done
    assert "no lock against measurements from other folders" in caplog.text


def test_where_locks_do_not_work_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with alone_on_machine(tmp_path / "lock"):
        pass
    assert "no lock against measurements from other folders" in caplog.text
    assert "No locks available" in caplog.text


def test_a_lock_file_is_open_for_writing_as_nfs_asks_or_else_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def access() -> int:
        descriptor = alone._open(tmp_path / "lock")
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        os.close(descriptor)
        return flags & os.O_ACCMODE

    assert access() == os.O_RDWR, "a new one"
    assert access() == os.O_RDWR, "one's own"
    opened = os.open

    def refuse_writing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, mode)

    monkeypatch.setattr(alone.os, "open", refuse_writing)
    assert access() == os.O_RDONLY, "another user's"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_everybody_may_read_the_lock_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with alone_on_machine(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    (tmp_path / "lock").chmod(0o600)  # as one of an earlier version
    assert alone.lock_fault(tmp_path / "lock") is None
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o644


def test_another_users_lock_is_locked_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock = tmp_path / "lock"
    lock.touch(mode=0o640)
    monkeypatch.setattr(alone.os, "getuid", lambda: lock.stat().st_uid + 1)
    with alone_on_machine(lock):
        assert lock.stat().st_mode & 0o777 == 0o640
        with lock.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert caplog.text == ""


@pytest.mark.parametrize("trap", ["fifo", "link", "dangling link", "hard link", "folder"])
def test_something_else_in_the_locks_place_is_told_and_nothing_waits_or_follows(
    trap: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock, target = tmp_path / "lock", tmp_path / "target"
    match trap:
        case "fifo":
            os.mkfifo(lock)
        case "link":
            target.touch(mode=0o600)
            lock.symlink_to(target)
        case "dangling link":
            lock.symlink_to(target)
        case "hard link":  # nobody else shall read what was private by its other name
            target.touch(mode=0o600)
            lock.hardlink_to(target)
        case "folder":
            lock.mkdir()
    done = []
    with alone_on_machine(lock):
        done.append(1)
    assert done
    assert "no lock against measurements from other folders" in caplog.text
    assert "set TMPDIR" in (alone.lock_fault(lock) or "")
    assert target.exists() == (trap in ("link", "hard link"))
    assert not target.exists() or target.stat().st_mode & 0o777 == 0o600


def test_a_pipe_of_another_users_in_the_locks_place_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may be read alone, and to open a pipe for reading is to wait for who writes into it."""
    os.mkfifo(tmp_path / "lock")
    opened, waited = os.open, []

    def refuse_writing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, "Permission denied")
        waited.append(not flags & os.O_NONBLOCK)
        return opened(path, flags | os.O_NONBLOCK, mode)

    monkeypatch.setattr(alone.os, "open", refuse_writing)
    assert "Not a regular file" in (alone.lock_fault(tmp_path / "lock") or "")
    assert waited == [False]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_locks_what_the_first_one_made() -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))  # whose parents another user may enter
    place.chmod(0o1777)
    try:
        holder = hold(place / "lock")
        code = (
            "import os, sys; from pathlib import Path;"
            "from torchmodes.processes import machine_lock;"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
            "fd = machine_lock._open(Path(sys.argv[1])); print('opened', flush=True);"
            "import fcntl; fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        command = [sys.executable, "-c", code, str(place / "lock")]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert other.stdout == "opened\n"
        assert "BlockingIOError" in other.stderr
        holder.kill()
        holder.wait()
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    finally:
        shutil.rmtree(place)


def test_jobs_with_different_gpus_of_a_node_do_not_wait_for_each_other() -> None:
    first, second = ({"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "GPU-8a/1"))
    assert len({lock_file(first), lock_file(second), lock_file({})}) == 3
    assert lock_file(second).parent == lock_file({}).parent, "the name stays one file name"


def test_every_rule_that_has_the_machine_alone_keeps_other_folders_waiting() -> None:
    rules = re.split(
        r"^ *rule\b",
        "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")),
        flags=re.M,
    )
    alone = [rule for rule in rules if "machine=100" in rule]
    assert len(alone) >= 5
    for rule in alone:
        script = re.search(r'script:\s+"\.\./(.*)"', rule)
        assert script is not None
        assert "alone_on_machine()" in (ROOT / script[1]).read_text(), script[1]
