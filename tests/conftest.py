"""What tests of every kind need."""

from __future__ import annotations

import signal
import socket
from collections.abc import Generator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would everything that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for `make test`, which runs two groups side by side (pytest-xdist).

    A file is a group, for it shares fixtures; all that look at the finished smoke run are one, so
    that it runs once. The long groups come first, so that the last to end is a short one.
    """
    items.sort(key=lambda item: ("_finished" not in item.fixturenames, "unit" in item.path.parts))
    for item in items:
        shared = "_finished" in getattr(item, "fixturenames", ())
        group = "the finished smoke run" if shared else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
