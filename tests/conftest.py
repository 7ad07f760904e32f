"""What tests of every kind need."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would everything that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all workers of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(autouse=True, scope="session")
def state_folder(shared_folder: Path) -> Generator[None]:
    """Let trainings sign with one key of all tests, not with that of who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(shared_folder / "state"))
        yield


@pytest.fixture(autouse=True, scope="module")
def frozen_objects() -> None:
    """Let the garbage collector pass over what libraries and the tests before have left alive.

    They are millions of objects, and each measurement collects garbage before it begins.
    """
    gc.collect()
    gc.freeze()


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for `make test`, which runs two side by side (pytest-xdist).

    One that makes the finished smoke run comes first, those that look at it when it is there, and
    those of short tests last, so that both workers end at the same time.
    """
    looking = {item.path for item in items if "_finished" in item.fixturenames}
    making = min(looking, default=None, key=lambda path: path.name != "test_smoke.py")

    def turn(item: pytest.Item) -> tuple[bool, bool, bool]:
        return (item.path != making, "unit" in item.path.parts, item.path in looking)

    items.sort(key=turn)
