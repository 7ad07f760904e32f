"""Private temporary folders, which are removed even if the process that made them was killed.

The maker holds a lock on a file in the folder (``flock``), which ends with the process, however
that ends. What a killed process left is removed by the next one that makes a folder there: folders
of this user whose lock nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "torchmodes-"
MARK = ".held"
"""The file that is locked; a folder without it is not one of these and stays."""

PLACES = {"TMPDIR": "tmp", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Variables that say where temporary files and compiled code go, and their folders in a private
one."""


@contextmanager
def private_folder(kind: str = "", *, place: Path | None = None) -> Generator[Path]:
    """Make a folder that only this user can enter, and remove it at the end.

    Its name says the kind; it lies in the folder for temporary files, unless another place is
    given.
    """
    place = Path(tempfile.gettempdir()) if place is None else place
    remove_abandoned(place)
    folder, held = _make(kind, place)
    try:
        yield folder
    finally:
        remove(folder)
        if held is not None:
            os.close(held)


def make_places(folder: Path) -> dict[str, str]:
    """Make the folders of `PLACES` in a private one; return the variables that name them."""
    for name in PLACES.values():
        (folder / name).mkdir(mode=0o700)
    return {variable: str(folder / name) for variable, name in PLACES.items()}


def remove(folder: Path) -> None:
    """Remove such a folder, its mark the last, so that a kill meanwhile leaves no unmarked part."""
    with suppress(FileNotFoundError):  # its monitor was faster
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != MARK:
                entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(place: Path) -> None:
    """Remove the folders whose process has ended without removing them."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is somebody else's, is held, or has just gone
            _remove_if_abandoned(folder)


def _make(kind: str, place: Path) -> tuple[Path, int | None]:
    """Make a folder and lock its mark; no lock where the file system has none."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX + kind, dir=place))  # mode 0700
        mark = folder / MARK
        held = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            mark.unlink(missing_ok=True)  # so that nobody takes it for abandoned
            os.close(held)
            return folder, None
        if os.fstat(held).st_nlink:
            return folder, held
        os.close(held)  # between its making and its locking another process took it for abandoned


def _remove_if_abandoned(folder: Path) -> None:
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    descriptor = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
    finally:
        os.close(descriptor)
