"""What tests of every kind need."""

from __future__ import annotations

import socket
from collections.abc import Generator

import pytest


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A machine without a network; the test that tried to use it fails."""
    tried = []

    def refuse(*address: object, **_: object) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not tried
