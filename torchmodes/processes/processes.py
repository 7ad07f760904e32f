"""Processes: whether one is alive, which descend from it, and how to end them.

Linux answers these questions at once and cheaply, through /proc, pidfd and prctl. Elsewhere psutil
answers them by looking at every process: right as well, but slower.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

LINUX = sys.platform == "linux"
UNNOTICED_S = 0.02  # how often to ask whether a process has ended that the system does not tell of
UNKILLABLE_AFTER_S = 10.0  # what outlives SIGKILL for so long hangs in the kernel

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended: a zombie has, and another one may have its number now."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def reap() -> Iterator[tuple[int, int]]:
    """Yield number and ``wait`` status of the children that have ended: none stays a zombie."""
    with suppress(ChildProcessError):  # there is none
        while (child := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            yield child


def open_pidfd(pid: int) -> int | None:
    """Open a descriptor that becomes readable when the process ends; None if there is no such."""
    try:
        return os.pidfd_open(pid) if LINUX else None
    except OSError:  # ended already, or the kernel or a sandbox has no pidfd
        return None


def wait(descriptors: Sequence[FileDescriptorLike | None], *, timeout_s: float | None) -> None:
    """Wait until one of them can be read, or for so long.

    None stands for a process without a pidfd: it is not noticed, so the wait is a moment only.
    """
    known = [descriptor for descriptor in descriptors if descriptor is not None]
    if len(known) < len(descriptors):
        timeout_s = UNNOTICED_S if timeout_s is None else min(timeout_s, UNNOTICED_S)
    select.select(known, [], [], timeout_s)


def descendants(pid: int) -> set[int]:
    """List the children of a process, their children, and so on, zombies included."""
    # psutil would read every process of the machine: too dear beside a measurement.
    if not Path("/proc/thread-self/children").exists():
        try:
            return {child.pid for child in psutil.Process(pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            return set()
    found: set[int] = set()
    pending = [pid]
    while pending:
        new = _children(pending.pop()) - found
        found |= new
        pending += new
    return found


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # that thread has
                listed = (thread / "children").read_bytes()
                found |= {int(child) for child in listed.split()}
    return found


def marked(variable: str, value: str, *, session: int | None = None) -> set[int]:
    """List the processes of this user that were started with this variable in the environment.

    This finds a process that left its session and whose parents have all ended, where no subreaper
    caught it. Those of `session` are listed too; the caller itself never is.
    """
    found: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has just ended, or is somebody else's
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            same = process.environ().get(variable) == value
            if same or (session is not None and os.getsid(process.pid) == session):
                found.add(process.pid)
    return found


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends, if the system can do so."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed at the moment that the parent ends (Linux), and at once if it has ended."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, argument: int) -> None:
    ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def end(find: Callable[[], Iterable[int]], *, grace_s: float) -> set[int]:
    """End processes until `find`, asked again and again, finds no more.

    They get SIGTERM, and SIGKILL once the grace (seconds) is over. Returned are those that not even
    that ended (they hang in the kernel): usually none.
    """
    begun = time.monotonic()
    asked: set[int] = set()
    while living := set(find()):
        elapsed = time.monotonic() - begun
        if elapsed > grace_s + UNKILLABLE_AFTER_S:
            return living
        if elapsed < grace_s:
            _signal(living - asked, signal.SIGTERM)
            asked |= living
        else:
            _signal(living, signal.SIGKILL)
        time.sleep(0.005)
    return set()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended first
            os.kill(pid, number)
