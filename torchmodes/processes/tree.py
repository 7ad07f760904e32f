"""The process of a case and all that it started, as its monitor sees them."""

from __future__ import annotations

import os
import time

from torchmodes.processes import processes
from torchmodes.processes.memory import memory_of
from torchmodes.processes.spec import CASE_VARIABLE


class ProcessTree:
    """The process `pid`, a child of this one, and all that it started.

    Once it has ended there is its `status` as from ``wait``, and when that was noticed, on the
    monotonic clock. `resident_bytes` is of all at the last look; pages that several share count for
    each of them.
    """

    def __init__(self, pid: int, folder: str) -> None:
        self.pid = pid
        self.folder = folder
        self.status: int | None = None
        self.ended_at: float | None = None
        self.resident_bytes = 0
        self._peaks: dict[int, list[int]] = {}

    def reap(self) -> None:
        """Wait for those that ended."""
        for pid, status in processes.reap():
            if pid == self.pid:
                self.status, self.ended_at = status, time.monotonic()

    def living(self) -> set[int]:
        """List those that live still."""
        self.reap()
        living = processes.descendants(os.getpid())
        if not processes.LINUX:  # no subreaper: an orphan is no descendant of this process
            living |= processes.marked(CASE_VARIABLE, self.folder, session=self.pid)
        return living

    def look(self) -> None:
        """Note how much memory each has and has had."""
        self.resident_bytes = 0
        for pid in processes.descendants(os.getpid()):
            if (memory := memory_of(pid)) is not None:
                self._peaks.setdefault(pid, []).append(memory.peak_bytes)
                self.resident_bytes += memory.resident_bytes

    def end(self, grace_s: float) -> tuple[int, ...]:
        """End them all; return those that not even SIGKILL ended."""
        return tuple(sorted(processes.end(self.living, grace_s=grace_s)))

    def peak_children_bytes(self) -> int:
        """Return the largest high-water mark of what the process started.

        One that was seen only once may have been on its way to run another program, with the mark
        of its parent.
        """
        others = (marks for pid, marks in self._peaks.items() if pid != self.pid)
        return max((marks[-1] for marks in others if len(marks) > 1), default=0)
