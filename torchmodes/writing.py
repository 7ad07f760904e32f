"""Writing results: whole or not at all, and a disk that is full or read-only told in one line."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RESERVED_BYTES = 64 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)


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


def disk_fault(error: OSError) -> str | None:
    """Say what the user can do about a disk that takes no more; None where it is another fault."""
    if error.errno in FULL:
        return "the disk is full: free some space and run snakemake again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename or 'a file'} cannot be written ({error.strerror})"
    return None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content as one step, so that no reader or crash sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
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


@dataclass(frozen=True)
class Reservation:
    """Space on the disk, taken before the work, in which at least the failure can be told."""

    path: Path
    space: Path

    def write(self, text: str, *, otherwise: str) -> bool:
        """Write the text, or where the disk is too full for it a shorter one.

        Parameters
        ----------
        text
            What should stand at the path.
        otherwise
            What stands there if that does not fit; at most `RESERVED_BYTES` as UTF-8.

        Returns
        -------
        bool
            Whether `text` was written.
        """
        try:
            write_atomically(self.path, text)
        except OSError as error:
            if error.errno not in FULL:
                raise
            shorter = otherwise.encode("utf-8")[:RESERVED_BYTES]
            with self.space.open("r+b") as file:  # the blocks are there already
                file.write(shorter)
                file.truncate()
            self.space.replace(self.path)
            return False
        return True


@contextmanager
def reserve(path: Path) -> Generator[Reservation]:
    """Take some space beside a path that will be written, and give it back at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    space = path.with_name(f".{path.name}.reserved")
    space.write_bytes(b"\0" * RESERVED_BYTES)
    try:
        yield Reservation(path, space)
    finally:
        space.unlink(missing_ok=True)
