"""The fork server's own process: it imports modules once, then does nothing but fork.

It must stay single-threaded and must not touch CUDA or OpenMP: those do not survive a fork.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torchmodes.processes import child, keeper, messages, processes
from torchmodes.processes.folders import private_folder
from torchmodes.processes.processes import Process, Watch

FIRST_CLIENT_WITHIN_S = 5.0  # the client that launched the server connects at once
LAST_WORD_S = 0.5  # for the keepers to clean up when the workflow has ended


def main(request: str) -> None:
    """Listen, leave the client that launched this, import, serve."""
    service: dict[str, Any] = json.loads(request)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(service["name"].encode("ascii"))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return  # another client was first: its server serves both
        raise
    listener.listen(socket.SOMAXCONN)
    if os.fork():
        os._exit(0)
    with private_folder("server-", place=Path(service["temporary"])) as folder:
        _serve(listener, service, folder)
    os._exit(0)  # the interpreter would take its time to tidy up


def _serve(listener: socket.socket, service: Mapping[str, Any], folder: Path) -> None:
    """Import, then fork for each client until the workflow ends."""
    workflow = Watch(Process(**service["workflow"]))
    places = keeper.private_places(folder)
    os.environ.update(places)  # or what is imported would choose folders that all users share
    before = dict(os.environ)
    gc.disable()  # no garbage is sought among what stays for good
    try:
        import_s, hazard = _import(service["preload"], workflow, limit_s=service["limit_s"])
    except BaseException as error:  # noqa: BLE001 - the client shall hear of anything
        # Answer those who wait, at least the one that is about to, and end: the next client may
        # find the module installed.
        select.select([listener], [], [], FIRST_CLIENT_WITHIN_S)
        _answer_all(listener, {"fault": child.describe(error)})
        return
    gc.collect()
    gc.freeze()  # the children's collector leaves these objects, and so their pages, alone
    gc.enable()
    _stop_blas_threads()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    imported = keeper.Imported(
        variables={k: v for k, v in os.environ.items() if before.get(k) != v},
        places=places,
        constants=keeper.constants_in(places),
    )
    Server(listener, workflow, import_s, imported, hazard or _threads()).serve()


def _import(modules: Sequence[str], workflow: Watch, *, limit_s: float) -> tuple[float, str | None]:
    """Import the modules; end with the workflow or at the limit.

    Returns
    -------
    float
        Seconds that it took.
    str or None
        Why this process must not be forked now, if one of them touched the GPU.
    """
    faulthandler.dump_traceback_later(limit_s, exit=True)  # says in the log what hangs
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0) if workflow.ended() else None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    ours = set(_own_modules())
    holder = None
    begun = time.monotonic()
    for module in modules:
        importlib.import_module(module)
        if new := set(_own_modules()) - ours:
            raise ValueError(f"preload: {module} imports {min(new)}, which may change meanwhile")
        if module == "torch":
            _count_gpus_in_a_fork()
        if holder is None and _holds_gpu():
            holder = module
    seconds = time.monotonic() - begun
    _forget_gpus()
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if holder is None or _fork_can_use_gpu():
        return seconds, None
    return seconds, f"importing {holder} initialised the GPU: a fork could not use it"


def _own_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "torchmodes"]


def _stop_blas_threads() -> None:
    """Let OpenBLAS (numpy's) end the threads that it starts when it is loaded.

    It does so at every fork and starts them again when they are needed, in a child as well.
    """
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _count_gpus_in_a_fork() -> None:
    """Let a fork ask NVML how many GPUs there are, and PyTorch take its word while it imports.

    NVML keeps a thread once it was asked (driver 580 does), and PyTorch asks at many imports.
    """
    import torch

    pid = os.fork()
    if not pid:
        os._exit(torch.cuda.device_count())
    torch.cuda._cached_device_count = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _forget_gpus() -> None:
    """Let each case count its GPUs itself."""
    if torch := sys.modules.get("torch"):
        torch.cuda._cached_device_count = None


def _holds_gpu() -> bool:
    """Tell whether this process has a GPU open. NVML alone may leave it so (driver 580 does)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            if descriptor.readlink().name in ("nvidia-uvm", "kfd"):
                return True
    return False


def _fork_can_use_gpu() -> bool:
    """Let a fork initialise CUDA, which fails where its parent has done so."""
    pid = os.fork()
    if not pid:
        try:
            status = ctypes.CDLL("libcuda.so.1").cuInit(0)
        except (OSError, AttributeError):  # another maker's GPU
            status = 1
        os._exit(min(status, 1))
    return os.waitpid(pid, 0)[1] == 0


def _threads() -> str | None:
    """Say that this process has threads and so must not be forked, if it has."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads == 1:
        return None
    return f"importing the preload modules started {threads - 1} threads: no fork is safe"


def _answer_all(listener: socket.socket, greeting: object) -> None:
    """Give everyone who waits the same answer."""
    listener.setblocking(False)
    with suppress(BlockingIOError):  # no more of them
        while True:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):  # it did not wait
                if _is_ours(connection):
                    messages.send(connection, greeting)


def _is_ours(connection: socket.socket) -> bool:
    """Tell whether the other side is this user: anybody may connect to an abstract socket."""
    return messages.peer(connection)[1] == os.getuid()


@dataclass
class Server:
    """Forks a keeper for each client until the workflow ends."""

    listener: socket.socket
    workflow: Watch
    import_s: float
    imported: keeper.Imported
    hazard: str | None

    def serve(self) -> None:
        """Serve, then see that nothing is left."""
        processes.become_subreaper()
        keepers: dict[int, int | None] = {}
        self.listener.setblocking(False)
        while not self.workflow.ended():
            descriptors = [self.workflow.descriptor, *keepers.values()]
            awake = [descriptor for descriptor in descriptors if descriptor is not None]
            asleep_s = None if len(awake) == len(descriptors) else 0.2
            select.select([self.listener, *awake], [], [], asleep_s)
            self._take_leave(keepers)
            if self.hazard is not None:
                _answer_all(self.listener, {"hazard": self.hazard})
                continue
            with suppress(BlockingIOError):  # nobody was waiting
                connection, _ = self.listener.accept()
                with connection:
                    self._fork_keeper(connection, keepers)
        self.listener.close()
        deadline = time.monotonic() + LAST_WORD_S
        while keepers and time.monotonic() < deadline:  # they know, and clean up
            time.sleep(0.02)
            self._take_leave(keepers)
        processes.end(_living_descendants, grace_s=0)

    def _fork_keeper(self, connection: socket.socket, keepers: dict[int, int | None]) -> None:
        if not _is_ours(connection):
            return
        client, _ = messages.peer(connection)
        server = processes.identify(os.getpid())
        pid = os.fork()
        if not pid:
            self._be_keeper(connection, client=client, server=server)
        keepers[pid] = processes.open_pidfd(pid)

    def _be_keeper(
        self, connection: socket.socket, *, client: int, server: Process | None
    ) -> NoReturn:
        try:
            self.listener.close()  # or the name would live on without a server
            os.setsid()
            connection.setblocking(True)
            owners = {"the client": processes.identify(client), "the fork server": server}
            keeper.keep(connection, owners=owners, import_s=self.import_s, imported=self.imported)
        except BaseException:  # noqa: BLE001 - nothing may return into the server's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _take_leave(self, keepers: dict[int, int | None]) -> None:
        """Reap keepers that ended; end what one that was killed left behind."""
        with suppress(ChildProcessError):  # there is none
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                if (descriptor := keepers.pop(pid, None)) is not None:
                    os.close(descriptor)
                if status:
                    processes.end(lambda: _strays(keepers), grace_s=0)


def _strays(keepers: Iterable[int]) -> set[int]:
    """List the descendants that no keeper keeps."""
    living = _living_descendants()  # first: what a keeper starts meanwhile is not among them
    return living.difference(keepers, *(processes.descendants(pid) for pid in keepers))


def _living_descendants() -> set[int]:
    return {pid for pid in processes.descendants(os.getpid()) if processes.identify(pid)}
