"""The fork server as its clients see it: how to find it, and how to have a monitor forked.

The server (`torchmodes.processes.forkserver_main`) imports modules such as torch once, then forks a
clean process for each case. The first case of a workflow that needs it starts it, and it is gone
when the workflow is gone, however that ends: its abstract Unix socket leaves nothing behind. Linux.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from torchmodes.processes.child import Fault
from torchmodes.processes.folders import PLACES
from torchmodes.processes.spec import CASE_VARIABLE
from torchmodes.processes.start import command

# Libraries read their environment while they are imported, once and for all cases of a server: so
# servers with different values of these variables are different servers.
READ_AT_IMPORT = (
    "ATEN_", "CUBLAS", "CUDA", "CUDNN", "DNNL", "GOMP_", "GLIBC_", "HF_", "HIP_", "KINETO", "KMP_",
    "LD_", "MALLOC_", "MKL_", "NCCL", "NVIDIA", "OMP_", "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH",
    "ROCR_", "TORCH", "TRANSFORMERS_", "TRITON",
)  # fmt: skip
PRIVATE_TO_A_CASE = (*PLACES, CASE_VARIABLE)
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
    """A preload module could not be imported."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True)
class Service:
    """What a server is for; servers of the same name are the same.

    `environment` is that of the case; only what `import_environment` leaves of it matters.
    """

    preload: tuple[str, ...]
    environment: Mapping[str, str]
    workflow: psutil.Process

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
        for module in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(module.read_bytes())  # never an older server
        of = f"{os.getuid()}-{self.workflow.pid}-{self.workflow.create_time():.0f}"
        return f"\0torchmodes-{of}-{digest.hexdigest()[:32]}".encode("ascii")


def connect(service: Service, *, limit_s: float, log: Path) -> tuple[Connection, float]:
    """Connect to a monitor forked by the server, which is started if there is none.

    Returns
    -------
    connection : Connection
        To a monitor that waits for its case.
    import_s : float
        Seconds that the server's imports took, once; they may take `limit_s`.

    Raises
    ------
    ServerUnavailableError
        It could not be started, is not fit to fork, or does not answer.
    PreloadError
        A module could not be imported.
    """
    deadline = time.monotonic() + limit_s
    for _ in range(ATTEMPTS):
        try:
            connection = _reach(service.name())
            return connection, _import_seconds(connection, deadline)
        except ConnectionRefusedError:
            _launch(service, limit_s, log)
        except (EOFError, ConnectionError):  # that server has just ended
            continue
    raise ServerUnavailableError(f"the fork server ended {ATTEMPTS} times before it answered")


def peer_uid(stream: socket.socket) -> int:
    """Return the user on the other side: anybody may bind, or connect to, an abstract socket."""
    credentials = struct.Struct("3i")  # process, user, group
    raw = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return credentials.unpack(raw)[1]


def _reach(name: bytes) -> Connection:
    """Connect, but do not wait for ever in the queue of somebody who never takes anyone out."""
    # connect(2) keeps to the limit for sending, and not to Python's own.
    limit = struct.pack("ll", *divmod(int(CONNECT_LIMIT_S * 1e6), 10**6))
    with socket.socket(socket.AF_UNIX) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            stream.connect(name)
        except BlockingIOError:  # the queue is full
            message = f"the fork server's name is taken: no answer in {CONNECT_LIMIT_S:g} s"
            raise ServerUnavailableError(message) from None
        if (uid := peer_uid(stream)) != os.getuid():
            raise ServerUnavailableError(f"the fork server's name is taken by user {uid}")
        return Connection(stream.detach())


def _launch(service: Service, limit_s: float, log: Path) -> None:
    """Start the server; on return it listens, or another client's does."""
    request = {
        "name": service.name().decode("ascii"),
        "preload": service.preload,
        "workflow": service.workflow.pid,
        "limit_s": limit_s,
        "temporary": tempfile.gettempdir(),
    }
    with log.open("ab") as stream:
        launched = subprocess.run(
            command("torchmodes.processes.forkserver_main", json.dumps(request)),
            env=service.import_environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            check=False,
        )
    if launched.returncode:
        raise ServerUnavailableError(
            f"the fork server did not start (status {launched.returncode}; see {log})"
        )


def _import_seconds(connection: Connection, deadline: float) -> float:
    """Wait for the greeting, which comes when the server has imported."""
    if not connection.poll(max(deadline - time.monotonic(), 0.001)):
        raise ServerUnavailableError("the fork server was still importing at the time limit")
    greeting: float | ServerUnavailableError | PreloadError = connection.recv()
    if isinstance(greeting, Exception):
        raise greeting
    return greeting
