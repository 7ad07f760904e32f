"""The fork server's own program: it imports modules once, then does nothing but fork.

Its children are monitors, one for each client, and each of them forks again to start a case.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import psutil

from torchmodes.processes import processes
from torchmodes.processes.child import describe
from torchmodes.processes.folders import make_places, private_folder
from torchmodes.processes.forkserver import PreloadError, ServerUnavailableError, peer_uid
from torchmodes.processes.monitor import monitor
from torchmodes.processes.preload import Preloaded, preload

FIRST_CLIENT_WITHIN_S = 5.0  # the client that launched the server connects at once
LAST_WORD_S = 0.5  # for the monitors to clean up when the workflow has ended


def main(request: str) -> None:
    """Listen, leave the client that launched this, import, serve."""
    service = json.loads(request)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(service["name"].encode("ascii"))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return  # another client was first: its server serves both
        raise
    listener.listen(socket.SOMAXCONN)
    listener.setblocking(False)
    if os.fork():
        os._exit(0)
    workflow = psutil.Process(service["workflow"])
    with private_folder("server-", place=Path(service["temporary"])) as folder:
        try:
            preloaded = preload(
                service["preload"],
                places=make_places(folder),
                workflow=workflow,
                limit_s=service["limit_s"],
            )
        except BaseException as error:  # noqa: BLE001 - the client shall hear of anything
            # Answer those who wait, at least the one that is about to, and end: the next client
            # may find the module installed.
            select.select([listener], [], [], FIRST_CLIENT_WITHIN_S)
            _refuse_all(listener, PreloadError(describe(error)))
        else:
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            Server(listener, workflow, preloaded).serve()
    os._exit(0)  # the interpreter would take its time to tidy up


class Server:
    """Forks a monitor for each client until the workflow ends."""

    def __init__(
        self, listener: socket.socket, workflow: psutil.Process, preloaded: Preloaded
    ) -> None:
        self.listener = listener
        self.workflow = workflow
        self.preloaded = preloaded
        self.monitors: dict[int, int | None] = {}  # by their number: a pidfd

    def serve(self) -> None:
        """Serve, then see that nothing is left."""
        processes.become_subreaper()
        workflow = processes.open_pidfd(self.workflow.pid)
        while not processes.ended(self.workflow):
            processes.wait([self.listener, workflow, *self.monitors.values()], timeout_s=None)
            if self._reap():
                processes.end(self._strays, grace_s=0)
            if self.preloaded.hazard is not None:
                _refuse_all(self.listener, ServerUnavailableError(self.preloaded.hazard))
            elif (client := _accept(self.listener)) is not None:
                with client, suppress(ConnectionError):  # it did not wait
                    client.send(self.preloaded.import_s)
                    self._fork_monitor(client)
        self.listener.close()
        deadline = time.monotonic() + LAST_WORD_S
        while self.monitors and time.monotonic() < deadline:  # they know, and clean up
            time.sleep(0.02)
            self._reap()
        processes.end(self._descendants, grace_s=0)

    def _fork_monitor(self, client: Connection) -> None:
        server = psutil.Process()
        pid = os.fork()
        if not pid:
            self._be_monitor(client, server)
        self.monitors[pid] = processes.open_pidfd(pid)

    def _be_monitor(self, client: Connection, server: psutil.Process) -> NoReturn:
        try:
            self.listener.close()  # or the name would live on without a server
            os.setsid()
            monitor(client, server=server, variables=self.preloaded.variables)
        except BaseException:  # noqa: BLE001 - nothing may return into the server's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _reap(self) -> bool:
        """Wait for the children that have ended; tell whether one of them failed or was killed."""
        failed = False
        for pid, status in processes.reap():
            if (pidfd := self.monitors.pop(pid, None)) is not None:
                os.close(pidfd)
            failed |= status != 0
        return failed

    def _descendants(self) -> set[int]:
        self._reap()
        return processes.descendants(os.getpid())

    def _strays(self) -> set[int]:
        """List what a monitor that was killed left behind: descendants that none watches."""
        living = self._descendants()  # first: what a monitor starts meanwhile is not among them
        watched = (processes.descendants(pid) for pid in self.monitors)
        return living.difference(self.monitors, *watched)


def _accept(listener: socket.socket) -> Connection | None:
    """Accept the next client that waits, if it is this user: anybody may connect."""
    with suppress(BlockingIOError):  # nobody was waiting
        stream, _ = listener.accept()
        with stream:
            if peer_uid(stream) == os.getuid():
                return Connection(stream.detach())
    return None


def _refuse_all(listener: socket.socket, refusal: Exception) -> None:
    """Give everyone who waits this answer."""
    while select.select([listener], [], [], 0)[0]:
        if (client := _accept(listener)) is not None:
            with client, suppress(ConnectionError):  # it did not wait
                client.send(refusal)
