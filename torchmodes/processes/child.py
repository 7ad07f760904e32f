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
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torchmodes.processes import processes
from torchmodes.results.reasons import cause_of, printable


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
        text = _run(place)
        try:
            _write(place / "result.json", text)
        except OSError as error:  # the value may be too large for the disk; the error is small
            _write(place / "result.json", as_json({"raised": describe(error)}))
        with suppress(OSError, ValueError):  # the target may have closed them: the value is safe
            sys.stdout.flush()
            sys.stderr.flush()
        # No clean-up by the interpreter: what hangs there must not cost a value that is written.
        os._exit(0)


def _run(place: Path) -> str:
    """Return the text of ``result.json``."""
    facts: dict[str, Any] = {}
    try:
        request = json.loads((place / "request.json").read_text(encoding="ascii"))
        importing = time.monotonic()
        for module in request["preload"]:
            importlib.import_module(module)
        facts["import_s"] = time.monotonic() - importing
        function = resolve(request["target"])
        peak_before = processes.own_memory().peak_bytes
        processes.reset_own_peak()
        facts["rss_at_start_bytes"] = processes.own_memory().resident_bytes
        facts["began_at"] = time.monotonic()
        _write(place / "began.json", json.dumps({**facts, "session": os.getpid()}))
        value = function(request["argument"])
        facts["ended_at"] = time.monotonic()
        peak = processes.own_memory().peak_bytes
        facts["peak_rss_bytes"] = peak
        of_children = processes.children_peak_bytes()
        facts["peak_children_bytes"] = of_children if of_children > max(peak, peak_before) else 0
        return as_json({**facts, "value": value})
    except BaseException as error:  # noqa: BLE001 - whatever the target does is its outcome
        facts.setdefault("ended_at", time.monotonic())
        facts.setdefault("peak_rss_bytes", processes.own_memory().peak_bytes)
        return as_json({**facts, "raised": describe(error)})


def began(folder: str) -> dict[str, Any]:
    """Read what is known since the target of the case in `folder` began; empty before that."""
    return _read(Path(folder, "began.json"))


def result(folder: str) -> dict[str, Any]:
    """Read the result of the case in `folder`; empty if it has left none."""
    return _read(Path(folder, "result.json"))


def crash(folder: str) -> str:
    """Read where the interpreter was when a signal ended the case; mostly empty."""
    try:
        return Path(folder, "crash.txt").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def resolve(target: str) -> Callable[[dict[str, Any]], Any]:
    """Import what ``package.module:function`` names."""
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def describe(error: BaseException) -> dict[str, str]:
    """Give an exception's class, its cause in one line, and its traceback."""
    kind = type(error).__name__
    message = cause_of(error)
    if isinstance(error, SystemExit):
        message = f"the target ended the process: SystemExit({error.code!r})"
    # The first frame is this module's: what follows is the target's own.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    trace = "".join(traceback.format_exception(type(error), error, frames))
    return {"error_type": kind, "message": message or kind, "traceback": printable(trace)}


def as_json(value: Any) -> str:
    """Write a value as strict JSON: a number that is not finite becomes null.

    Raises
    ------
    TypeError
        Something in the value has no form in JSON.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(member) for key, member in value.items()}
        case list() | tuple():
            return [_finite(member) for member in value]
        case _:
            return value


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return {}


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    try:
        part.write_text(text, encoding="ascii")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
