"""How a supervised case ended, in the words of a report."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torchmodes.processes import child
from torchmodes.processes.child import Finished
from torchmodes.processes.spec import Ending, ProcessSpec

Kind = Literal["returned", "raised", "killed", "timed_out", "lost"]
FULL_DISK_BYTES = 1_000_000
TO_INSTALL = "install it where this runs: `make` installs all of requirements.lock"
NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "cannot write PCH file")
"""What compilers say of a full disk; of a precompiled header GCC does not say why."""


@dataclass(frozen=True)
class Outcome:
    """How a supervised case ended.

    Attributes
    ----------
    kind
        ``returned`` a value, ``raised`` an exception, was ``killed`` by a signal or at its memory
        limit, ``timed_out`` at its time limit, or was ``lost``: it ended without a result.
    error_type
        The exception's class (``RuntimeError``, ``MemoryError``, torch's ``OutOfMemoryError``),
        the signal (``SIGSEGV``), ``MemoryLimit``, ``TimeLimit``, ``NoResult`` (it exited without
        one) or ``SupervisorLost`` (the workflow, the fork server or the monitor ended before it).
    traceback
        Of the exception; of a killed or hanging case, where the interpreter was, if it could tell.
    start_s
        Seconds from the request until the target began (until the end if it never did).
    import_s
        Seconds spent importing the preload modules: the server's, once, or the fresh process's own.
    wall_s
        Seconds that the target ran; 0 if it never began.
    peak_children_bytes
        The largest high-water mark of the resident set among the processes that it started.
    """

    kind: Kind
    value: Any | None
    error_type: str | None
    message: str | None
    traceback: str | None
    start_method: Literal["fork", "fresh"]
    start_s: float
    import_s: float = 0.0
    wall_s: float = 0.0
    peak_children_bytes: int = 0
    remedy: str | None = None


def conclude(ending: Ending, spec: ProcessSpec, *, requested_at: float, import_s: float) -> Outcome:
    """Conclude from what the monitor saw and what the case left in its folder.

    `requested_at` is on the monotonic clock, `import_s` are the seconds of the fork server's
    imports; those of a fresh process are in its folder.
    """
    began, finished = child.read_began(spec.folder), child.read_finished(spec.folder)
    kind, error_type, message = _classify(ending, spec, finished, began=began is not None)
    if ending.survivors:
        message = f"{message}\nsurvived SIGKILL: {', '.join(map(str, ending.survivors))}"
    last = finished or Finished(ending.ended_at)
    traceback = last.raised.traceback if kind == "raised" and last.raised else None
    if kind in ("killed", "timed_out"):
        traceback = child.read_crash(spec.folder)
    remedy = remedy_of(error_type)
    if (full := _full_disk(spec, kind, error_type, traceback or "")) is not None:
        folder, remedy = full
        message = f"no space left in {folder} ({message if kind != 'raised' else error_type})"
    began_at = last.ended_at if began is None else began.began_at
    if spec.start == "fresh":
        import_s = 0.0 if began is None else began.import_s
    return Outcome(
        kind=kind,
        value=last.value if kind == "returned" else None,
        error_type=error_type,
        message=message,
        traceback=traceback,
        start_method=spec.start,
        start_s=began_at - requested_at,
        import_s=import_s,
        wall_s=last.ended_at - began_at,
        peak_children_bytes=max(ending.peak_children_bytes, last.peak_children_bytes),
        remedy=remedy,
    )


def _full_disk(
    spec: ProcessSpec, kind: Kind, error_type: str | None, trace: str
) -> tuple[Path, str] | None:
    """Find where a case had no space for its files, if that is what ended it, and what to do.

    A compiler says so in the middle of what it prints, and removes its files before it ends: then
    the disk is full no more. Or it says so in the language of the user: then it may be full still.
    """
    temporary = Path(spec.folder).parent
    cache = Path(spec.environment.get("TORCHINDUCTOR_CACHE_DIR", spec.folder))
    own = (temporary, "free some space there, or set TMPDIR to a folder with more")
    other = (cache, "free some space there and run again")
    disks = {spec.folder: own, str(cache): own if cache.is_relative_to(temporary) else other}
    full = [disk for disk in disks.values() if _free_bytes(disk[0]) < FULL_DISK_BYTES]
    if any(text in trace for text in NO_SPACE):
        return next(iter(full + [disk for place, disk in disks.items() if place in trace]), None)
    compiling = kind == "raised" and "compile" in (error_type or "").lower()
    return next(iter(full), None) if compiling or error_type in ("NoResult", "SIGBUS") else None


def _free_bytes(folder: Path) -> float:
    while not folder.exists() and folder != folder.parent:  # a cache that is not yet there
        folder = folder.parent
    return shutil.disk_usage(folder).free


def remedy_of(error_type: str | None) -> str | None:
    """Return what to do about an exception by its class, where that says it."""
    return TO_INSTALL if error_type == "ModuleNotFoundError" else None


def _classify(
    ending: Ending, spec: ProcessSpec, finished: Finished | None, *, began: bool
) -> tuple[Kind, str | None, str | None]:
    """Return kind, error type and message."""
    match ending.cause:
        case "time":
            return "timed_out", "TimeLimit", f"still running after {spec.time_limit_s:g} s: killed"
        case "start":
            return (
                "timed_out",
                "TimeLimit",
                f"still importing after {spec.start_limit_s:g} s: killed",
            )
        case "memory":
            limit = gigabytes(spec.memory_limit_bytes or 0)
            held = gigabytes(ending.resident_bytes)
            return "killed", "MemoryLimit", f"held {held} of memory, its limit is {limit}: killed"
        case "gone":
            return "lost", "SupervisorLost", f"ended because {ending.detail} did"
    if finished is not None and finished.raised is not None:
        return "raised", finished.raised.error_type, finished.raised.message
    if finished is not None:
        return "returned", None, None
    status = ending.status or 0
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "killed", signal_name(number), _killed_by(number, ending)
    message = f"exited with status {os.waitstatus_to_exitcode(status)} without a result"
    if not began:
        message += ", before the target began"
    return "lost", "NoResult", message


def _killed_by(number: int, ending: Ending) -> str:
    message = f"killed by {signal_name(number)}"
    if number != signal.SIGKILL:
        return f"{message} ({(signal.strsignal(number) or 'unknown').lower()})"
    if ending.oom_killed:
        return f"{message}, probably out of memory: the kernel killed processes to free some"
    return f"{message}, not at one of its own limits"


def signal_name(number: int) -> str:
    """Name a signal; real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def gigabytes(size: int) -> str:
    """Write a size for people: ``1.25 GB``, of 10⁹ bytes each."""
    return f"{size / 1e9:.2f} GB"
