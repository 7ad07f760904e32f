"""What a case's own process does: call the target, and leave its value in a file.

The folder of the case holds ``request.json``; here ``began.json`` and ``result.json`` join it, each
written whole or not at all, and ``crash.txt``, where the interpreter says what it was doing when a
signal ended it.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchmodes.processes import memory
from torchmodes.results.reasons import cause_of, printable
from torchmodes.results.writing import write_atomically

LONGEST_TRACEBACK = 50_000
"""Characters of a traceback: an exception may hold a tensor, or a whole graph."""


@dataclass(frozen=True)
class Fault:
    """An exception: its class, its cause in one line, and its traceback."""

    error_type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Began:
    """``began.json``: what is known when the target begins; times on the monotonic clock."""

    session: int
    import_s: float
    began_at: float


@dataclass(frozen=True)
class Finished:
    """``result.json``: the target's value, or what was raised by it or before it began."""

    ended_at: float
    peak_children_bytes: int = 0
    value: Any = None
    raised: Fault | None = None


def main(folder: str) -> None:
    """Call the target of the request in `folder`, then end the process."""
    place = Path(folder)
    with (place / "crash.txt").open("wb") as dump:
        faulthandler.enable(dump)
        # On a time limit SIGTERM comes first: it tells where the target hung, even in C.
        faulthandler.register(signal.SIGTERM, dump, chain=True)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # So that the log of a crash is complete, and no print fails for want of a letter.
            sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
        finished = _run(place)
        try:
            _write_finished(place, finished)
        except Exception as error:  # noqa: BLE001 - no JSON, or too large for the disk
            _write_finished(place, replace(finished, value=None, raised=describe(error)))
        with suppress(OSError, ValueError):  # the target may have closed them: the value is safe
            sys.stdout.flush()
            sys.stderr.flush()
        # No clean-up by the interpreter: what hangs there must not cost a value that is written.
        os._exit(0)


def _run(place: Path) -> Finished:
    try:
        request = json.loads((place / "request.json").read_text(encoding="ascii"))
        importing = time.monotonic()
        for module in request["preload"]:
            importlib.import_module(module)
        import_s = time.monotonic() - importing
        function = pkgutil.resolve_name(request["target"])
        peak_before = memory.own_memory().peak_bytes
        memory.reset_own_peak()  # what imports held for a moment is not the target's
        began = Began(os.getpid(), import_s, time.monotonic())
        write_atomically(place / "began.json", json.dumps(vars(began)))
        value = function(request["argument"])
        ended_at = time.monotonic()
        own_peak = max(peak_before, memory.own_memory().peak_bytes)
        of_children = memory.children_peak_bytes()
        return Finished(ended_at, of_children if of_children > own_peak else 0, value)
    except BaseException as error:  # noqa: BLE001 - whatever the target does is its outcome
        return Finished(time.monotonic(), raised=describe(error))


def read_began(folder: str) -> Began | None:
    """Read what is known since the target of the case in `folder` began; None before that."""
    found = _read(Path(folder, "began.json"))
    return None if found is None else Began(**found)


def read_finished(folder: str) -> Finished | None:
    """Read the result of the case in `folder`; None if it has left none."""
    found = _read(Path(folder, "result.json"))
    if found is None:
        return None
    raised = found.pop("raised")
    return Finished(**found, raised=None if raised is None else Fault(**raised))


def read_crash(folder: str) -> str | None:
    """Read where the interpreter was when a signal ended the case; mostly None."""
    try:
        return Path(folder, "crash.txt").read_text(encoding="utf-8", errors="replace") or None
    except FileNotFoundError:
        return None


def describe(error: BaseException) -> Fault:
    """Describe an exception of the target, or of a module that it needs."""
    kind = type(error).__name__
    message = cause_of(error)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int | None) else message
        message = f"the target ended the process: SystemExit({code})"
    # The first frame is this module's: what follows is the target's own.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    trace = "".join(traceback.format_exception(type(error), error, frames))
    return Fault(error_type=kind, message=message or kind, traceback=printable(_shortened(trace)))


def _shortened(trace: str) -> str:
    """Leave out the middle of what would make a record of megabytes."""
    left_out = len(trace) - LONGEST_TRACEBACK
    if left_out <= 0:
        return trace
    half = LONGEST_TRACEBACK // 2
    return f"{trace[:half]}\n[{left_out:,} characters left out]\n{trace[-half:]}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        # A number that is not finite becomes null.
        return json.loads(path.read_text(encoding="ascii"), parse_constant=lambda _: None)
    except (OSError, ValueError):  # not there; or what the target itself made of it
        return None


def _write_finished(place: Path, finished: Finished) -> None:
    raised = None if finished.raised is None else vars(finished.raised)
    write_atomically(place / "result.json", json.dumps({**vars(finished), "raised": raised}))
