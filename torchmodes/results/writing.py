"""Writing results, whole or not at all; a full or read-only disk is reported in one line.

Any text can be written or printed: characters that an encoding lacks are escaped.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


def require_writable(*folders: Path) -> None:
    """Make folders that are missing, and tell before any work that one cannot be written.

    Raises
    ------
    ValueError
        With the folder and what the system says.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ValueError(
                f"{folder}/ cannot be written ({error.strerror}): make it writable, or run in a"
                " folder that is: snakemake --directory another/folder"
            ) from None


def encodable(value: Any) -> Any:
    """Escape what has no form in UTF-8 in a JSON value's texts, keys included.

    Such a lone surrogate comes from bytes that were no text: in a file's name, a variable of the
    environment, an exception's message. JSON can carry it, but no file of text and no record.
    """
    return with_texts(value, lambda text: text.encode("utf-8", "backslashreplace").decode("utf-8"))


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed, keys included."""
    match value:
        case str():
            return change(value)
        case dict():
            return {
                with_texts(key, change): with_texts(member, change) for key, member in value.items()
            }
        case list() | tuple():
            return [with_texts(member, change) for member in value]
        case _:
            return value


def print_anything() -> None:
    """Let standard output and error escape what their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(text: str, *, to: TextIO | None = None) -> None:
    """Print a line, by default to standard output; one that cannot be printed costs nothing.

    Who reads may have gone, or the disk of a redirected output may be full. What stays in the
    buffer would then end the interpreter with an error: it goes nowhere.
    """
    stream = sys.stdout if to is None else to
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (OSError, ValueError) as error:  # full, or its reader gone, or closed
        logger.warning("not printed (%s): %s", error, text)
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())


def disk_fault(error: OSError) -> str | None:
    """Say what the user can do about a disk that takes no more; None where it is another fault."""
    if error.errno in FULL:
        return "the disk is full: free some space and run snakemake again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename or 'a file'} cannot be written ({error.strerror})"
    return None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content as one step, so that no reader or crash sees a part of it."""
    if path.is_char_device():  # /dev/null: root could put a file in its place
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_parts(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file have left beside it."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if part.suffix[1:].isdigit():
            part.unlink(missing_ok=True)
