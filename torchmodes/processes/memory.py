"""The memory of a process, now and at its peak, and what the kernel does when none is left.

psutil reports no peak on Linux.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from torchmodes.processes import processes


@dataclass(frozen=True)
class Memory:
    """Resident set of one process: now, and its high-water mark (the same where unknown)."""

    resident_bytes: int
    peak_bytes: int


def memory_of(pid: int) -> Memory | None:
    """Read the resident set of a process; None when it has ended."""
    if not processes.LINUX:
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
    kilobytes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
    if not kilobytes:  # a zombie's are gone
        return None
    return Memory(int(kilobytes["VmRSS"]) * 1024, int(kilobytes["VmHWM"]) * 1024)


def own_memory() -> Memory:
    """Read the resident set of this process."""
    own = memory_of(os.getpid())
    assert own is not None
    return own


def reset_own_peak() -> None:
    """Let the high-water mark begin again at the present resident set (proc(5), clear_refs)."""
    with suppress(OSError):  # it cannot everywhere
        Path("/proc/self/clear_refs").write_text("5")


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
    if processes.LINUX:
        Path("/proc/self/oom_score_adj").write_text("1000")


def oom_kills() -> int:
    """Count the kernel's out-of-memory kills on this machine, those in a cgroup included.

    Only a rise of the number means something. 0 where the kernel does not count them.
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
