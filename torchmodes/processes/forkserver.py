"""The fork server, seen by its clients: which one it is, and how to get a keeper forked by it.

The server (`torchmodes.processes.preloaded`) imports modules such as torch once, then forks a
clean process for each case. There is one for each workflow, interpreter, list of modules and
environment they are imported in; the first case that needs it starts it, and it is gone when the
workflow is gone, however that ends. It listens on an abstract Unix socket, which leaves nothing
behind. Linux.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from torchmodes.processes import child, folders, keeper, messages, preloaded, processes
from torchmodes.processes.processes import Process

# Libraries read their environment while they are imported, once and for all cases of a server: so
# servers with different values of these variables are different servers.
READ_AT_IMPORT = (
    "ATEN_", "CUBLAS", "CUDA", "CUDNN", "DNNL", "GOMP_", "GLIBC_", "HF_", "HIP_", "KINETO", "KMP_",
    "LD_", "MALLOC_", "MKL_", "NCCL", "NVIDIA", "OMP_", "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH",
    "ROCR_", "TORCH", "TRANSFORMERS_", "TRITON",
)  # fmt: skip
PRIVATE_TO_A_CASE = (*keeper.PLACES, keeper.CASE_VARIABLE)
WHILE_IMPORTING = {
    "TORCH_WARM_POOL": "0",  # or Inductor starts its compiler processes
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # or torch.cuda.is_available() initialises CUDA
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # or pandas' PyArrow starts a thread
}
ATTEMPTS = 3
CONNECT_LIMIT_S = 5.0  # a server takes its clients at once: who does not is none


class ServerUnavailableError(RuntimeError):
    """There is no fork server, and here is why."""


class PreloadError(RuntimeError):
    """A preload module could not be imported; `fault` is as from `child.describe`."""

    def __init__(self, fault: dict[str, str]) -> None:
        super().__init__(fault["message"])
        self.fault = fault


@dataclass(frozen=True)
class Service:
    """What a server is for; servers of the same name are the same.

    `environment` is that of the case; only what `import_environment` leaves of it matters. In
    `temporary` a new server makes its private folder.
    """

    preload: tuple[str, ...]
    environment: Mapping[str, str]
    workflow: Process
    temporary: str = field(default_factory=tempfile.gettempdir)

    def import_environment(self) -> dict[str, str]:
        """Give the environment to import the modules in."""
        return {
            **{k: v for k, v in self.environment.items() if k not in PRIVATE_TO_A_CASE},
            **WHILE_IMPORTING,
        }

    def name(self) -> bytes:
        """Name the abstract socket."""
        read = {k: v for k, v in self.import_environment().items() if k.startswith(READ_AT_IMPORT)}
        identity = [sys.executable, sys.prefix, self.preload, sorted(read.items())]
        digest = hashlib.sha256(json.dumps(identity).encode("ascii"))
        for module in (
            child,
            folders,
            keeper,
            messages,
            preloaded,
            processes,
            sys.modules[__name__],
        ):
            digest.update(Path(str(module.__file__)).read_bytes())  # never an older server
        of = f"{os.getuid()}-{self.workflow.pid}-{self.workflow.started:.0f}"
        return f"\0torchmodes-{of}-{digest.hexdigest()[:32]}".encode("ascii")


def connect(service: Service, *, limit_s: float, log: BinaryIO) -> tuple[socket.socket, float]:
    """Connect to a keeper forked by the server, which is started if there is none.

    Parameters
    ----------
    service
        Which server.
    limit_s
        Seconds that its imports may take.
    log
        Where a new server writes while it imports.

    Returns
    -------
    connection : socket
        To a keeper that waits for its case.
    import_s : float
        Seconds that the server's imports took, once.

    Raises
    ------
    ServerUnavailableError
        It could not be started, is not fit to fork, or does not answer.
    PreloadError
        A module could not be imported.
    """
    deadline = time.monotonic() + limit_s
    for _ in range(ATTEMPTS):
        connection = socket.socket(socket.AF_UNIX)
        try:
            _reach(connection, service.name())
            return connection, _greeting(connection, deadline)
        except ConnectionRefusedError:
            connection.close()
            _launch(service, limit_s, log)
        except (EOFError, ConnectionError):  # that server has just ended
            connection.close()
        except BaseException:
            connection.close()
            raise
    raise ServerUnavailableError(f"the fork server ended {ATTEMPTS} times before it answered")


def _reach(connection: socket.socket, name: bytes) -> None:
    """Connect, but do not wait for ever in the queue of somebody who never takes anyone out."""
    deadline = time.monotonic() + CONNECT_LIMIT_S
    connection.setblocking(False)
    while True:
        try:
            connection.connect(name)
            break
        except BlockingIOError:  # the queue is full
            if time.monotonic() > deadline:
                raise ServerUnavailableError(
                    f"who has the fork server's name takes no client for {CONNECT_LIMIT_S:g} s"
                ) from None
            time.sleep(0.05)
    connection.setblocking(True)


def _launch(service: Service, limit_s: float, log: BinaryIO) -> None:
    """Start the server; on return it listens, or another client's does."""
    request = {
        "name": service.name().decode("ascii"),
        "preload": service.preload,
        "workflow": asdict(service.workflow),
        "limit_s": limit_s,
        "temporary": service.temporary,
    }
    launched = subprocess.run(
        keeper.command("torchmodes.processes.preloaded", json.dumps(request)),
        env=service.import_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        check=False,
    )
    if launched.returncode:
        raise ServerUnavailableError(
            f"the fork server did not start (status {launched.returncode}; see {log.name})"
        )


def _greeting(connection: socket.socket, deadline: float) -> float:
    _, uid = messages.peer(connection)
    if uid != os.getuid():
        raise ServerUnavailableError(f"the fork server's name is taken by user {uid}")
    connection.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        greeting, _ = messages.receive(connection)
    except TimeoutError:
        message = "the fork server was still importing at the time limit"
        raise ServerUnavailableError(message) from None
    connection.settimeout(None)
    if "fault" in greeting:
        raise PreloadError(greeting["fault"])
    if "hazard" in greeting:
        raise ServerUnavailableError(greeting["hazard"])
    return greeting["import_s"]
