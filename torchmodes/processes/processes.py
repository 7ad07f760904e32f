"""Processes: does this one live, who descends from it, what memory has it, and how to end them.

Linux answers these questions at once and cheaply, through /proc, pidfd and prctl. Elsewhere psutil
answers them by looking at every process: right as well, but slower.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LINUX = sys.platform == "linux"
UNKILLABLE_AFTER_S = 10.0  # what outlives SIGKILL for so long hangs in the kernel

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


# --- Who it is, and whether it lives ---------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process for good: its number alone may be given to another one later.

    `started` is in clock ticks since boot on Linux (its wall clock may be set meanwhile), elsewhere
    in seconds since the epoch.
    """

    pid: int
    started: float


def identify(pid: int) -> Process | None:
    """Identify a living process; None where there is none (a zombie does not live)."""
    if LINUX:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # Fields 3 (state) and 22 (start time) of proc(5); the name in field 2 may hold anything.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X") else Process(pid, float(fields[19]))
    try:
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return None if zombie else Process(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


class Watch:
    """Notices the end of a process.

    `descriptor` becomes readable at that moment where the kernel offers it (Linux's pidfd);
    elsewhere it is None, and `ended` has to be asked again and again.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.descriptor = open_pidfd(process.pid)

    def ended(self) -> bool:
        """Tell whether the process has ended."""
        return identify(self.process.pid) != self.process


def open_pidfd(pid: int) -> int | None:
    """Open a descriptor that becomes readable when the process ends; None if there is no such."""
    try:
        return os.pidfd_open(pid) if LINUX else None
    except OSError:  # ended already, or the kernel or a sandbox has no pidfd: `ended` will tell
        return None


# --- Who descends from it --------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """List the children of a process, their children, and so on, zombies included."""
    if not _kernel_lists_children():
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


@functools.cache
def _kernel_lists_children() -> bool:
    # psutil would read every process of the machine: too dear beside a measurement.
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists()


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # that thread has
                listed = (thread / "children").read_bytes()
                found |= {int(child) for child in listed.split()}
    return found


def marked(variables: Mapping[str, str], *, session: int | None = None) -> set[int]:
    """List the processes of this user that were started with these environment variables.

    This finds a process that left its session and whose parents have all ended, where no subreaper
    caught it. Those of `session` are listed too; the caller itself never is.
    """
    found: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has just ended, or is somebody else's
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            same = variables.items() <= environment.items()
            if same or (session is not None and os.getsid(process.pid) == session):
                found.add(process.pid)
    return found


def become_subreaper() -> bool:
    """Become the parent of every descendant whose own parent ends, if the system can do so."""
    return LINUX and _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed at the moment that the parent ends (Linux), and at once if it has ended."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, argument: int) -> bool:
    return ctypes.CDLL(None).prctl(option, argument, 0, 0, 0) == 0


# --- How it ends -----------------------------------------------------------------------------


def end(find: Callable[[], Iterable[int]], *, grace_s: float) -> set[int]:
    """End processes until `find` finds no more: SIGTERM, and SIGKILL once the grace is over.

    Parameters
    ----------
    find
        Lists those that live still; asked again and again, for they may start others meanwhile.
    grace_s
        Seconds to end by themselves; 0 is SIGKILL at once.

    Returns
    -------
    set of int
        Those that not even SIGKILL ended (they hang in the kernel): usually none.
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


# --- What memory it has ----------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Resident set of one process: now, and its high-water mark (the same where unknown)."""

    resident_bytes: int
    peak_bytes: int


def memory(pid: int) -> Memory | None:
    """Read the resident set of a process; None when it has ended."""
    if not LINUX:
        try:
            resident = psutil.Process(pid).memory_info().rss
        except psutil.Error:
            return None
        own = pid == os.getpid()
        return Memory(resident, _peak(resource.RUSAGE_SELF) if own else resident)
    try:
        # The name of the process is in it, and that may be any bytes.
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    kilobytes = {
        key: int(rest.split()[0])
        for key, _, rest in (line.partition(":") for line in status.splitlines())
        if key in ("VmRSS", "VmHWM")
    }
    if len(kilobytes) < 2:  # a zombie's are gone
        return None
    return Memory(kilobytes["VmRSS"] * 1024, kilobytes["VmHWM"] * 1024)


def own_memory() -> Memory:
    """Read the resident set of this process."""
    own = memory(os.getpid())
    assert own is not None
    return own


def reset_own_peak() -> bool:
    """Let the high-water mark begin again at the present resident set (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def children_peak_bytes() -> int:
    """Largest high-water mark among the children that were waited for, as the kernel counts it.

    Linux lets a child begin with the mark of the process that started it: after a run of
    ``/bin/true`` a process of 500 MB is told that a child had 500 MB. Only what exceeds the
    parent's own mark is surely a child's.
    """
    return _peak(resource.RUSAGE_CHILDREN)


def _peak(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes here
    return resource.getrusage(who).ru_maxrss * unit


def prefer_for_oom_kill() -> None:
    """When memory runs out, let the kernel end this process and what it starts, not others."""
    if LINUX:
        Path("/proc/self/oom_score_adj").write_text("1000")


def oom_kills() -> int:
    """Count the kernel's out-of-memory kills, on this machine and in this cgroup, where told.

    Only a rise of the number means something.
    """
    files = [Path("/proc/vmstat")]
    with suppress(OSError):  # no cgroups, or not Linux
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        for line in groups.splitlines():
            _, controllers, path = line.split(":", 2)
            relative = path.lstrip("/")
            # Inside a container the path may be the host's: then the mount itself is our cgroup.
            if not controllers:
                roots = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
                files += {
                    root / part / "memory.events" for root in roots for part in (relative, "")
                }
            elif "memory" in controllers.split(","):
                root = Path("/sys/fs/cgroup/memory")
                files += {root / part / "memory.oom_control" for part in (relative, "")}
    return sum(_oom_kills_in(file) for file in files)


def _oom_kills_in(file: Path) -> int:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
