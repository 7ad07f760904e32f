"""JSON messages, with open files, over a local stream socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("!I")


def send(connection: socket.socket, message: object, *, files: Sequence[int] = ()) -> None:
    """Send one message; the file descriptors arrive as copies."""
    body = json.dumps(message).encode("ascii")
    socket.send_fds(connection, [_LENGTH.pack(len(body))], files)
    connection.sendall(body)


def receive(connection: socket.socket, *, files: int = 0) -> tuple[Any, list[int]]:
    """Receive one message and at most `files` file descriptors.

    Raises
    ------
    EOFError
        The other side closed, or died, before the message was complete.
    """
    header, descriptors, *_ = socket.recv_fds(connection, _LENGTH.size, files)
    header += _receive_exactly(connection, _LENGTH.size - len(header)) if header else b""
    if not header:
        raise EOFError("the other side closed the connection")
    (length,) = _LENGTH.unpack(header)
    return json.loads(_receive_exactly(connection, length)), descriptors


def is_closed(connection: socket.socket) -> bool:
    """Tell, without waiting, whether the other side closed or died."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the numbers of the process and of the user on the other side (Linux)."""
    credentials = struct.Struct("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    pid, uid, _ = credentials.unpack(raw)
    return pid, uid


def _receive_exactly(connection: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = connection.recv(length)
        if not part:
            raise EOFError("the other side closed the connection within a message")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
