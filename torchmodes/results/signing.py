"""Signatures that show which archives were made by a training of this user.

Loading an archive may run what its maker put into it. No file beside it in ``results/`` can vouch
for it: whoever made the archive can have made that as well. So a training signs its archives with a
key that is kept elsewhere: in the user's state folder, where only this user can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

KEY_BYTES = 32


class NoKey(ValueError):
    """There is no key to be trusted; the message says why."""


def key_file() -> Path:
    """Return where this user's key lies (XDG Base Directory Specification, state)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "torchmodes", "signing.key")


def sign(content: bytes, *, batch_size: int) -> str:
    """Sign a file and the batch that its code was made for; the first time, make the key.

    Returned is HMAC-SHA256 as hexadecimal digits.

    Raises
    ------
    NoKey
        There is none and none can be made, or others can read it.
    """
    return _signature(_read_key() or _make_key(), content, batch_size)


def is_signed(content: bytes, *, batch_size: int, signature: str) -> bool:
    """Tell whether a training of this user signed this content for this batch."""
    try:
        key = _read_key()
    except NoKey:
        return False
    return key is not None and hmac.compare_digest(
        _signature(key, content, batch_size).encode(), signature.encode("utf-8", "replace")
    )


def _signature(key: bytes, content: bytes, batch_size: int) -> str:
    message = f"torchmodes artefact, batch {batch_size}\0".encode() + content
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _read_key() -> bytes | None:
    """Read the key; None where there is none."""
    path = key_file()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoKey(f"{path}: cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise NoKey(f"{path}: is not a file that you alone can read; delete it")
        key = file.read()
    if len(key) != KEY_BYTES:
        raise NoKey(f"{path}: holds no key; delete it")
    return key


def _make_key() -> bytes:
    path = key_file()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(part, path)  # whole or not at all; of two jobs the first makes it
        part.unlink()
    except OSError as error:
        raise NoKey(f"{path}: cannot be made ({error.strerror})") from None
    key = _read_key()
    if key is None:
        raise NoKey(f"{path}: has vanished")
    return key
