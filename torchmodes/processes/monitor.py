"""The monitor: a small process beside each case that ends it at its limits and says how it ended.

It starts the case's process and is the only one to end it: at the time limit, at the memory limit,
or when nobody is left to hear of the outcome. On Linux it is the subreaper of all that the case
starts, so that not even a grandchild in a session of its own gets away.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from torchmodes.processes import child, folders, memory, processes
from torchmodes.processes.spec import Cause, Ending, ProcessSpec
from torchmodes.processes.start import start_child
from torchmodes.processes.tree import ProcessTree

POLL_S = 0.25  # how often memory is looked at: seldom, so as not to disturb the measurement
PAUSE_S = 5.0  # a monitor that wakes so late was stopped itself, and its case with it
GRACE_S: Mapping[Cause, float] = {
    "exited": 1.0,
    "time": 2.0,
    "start": 2.0,
    "memory": 0.2,
    "gone": 0,
}
"""Between SIGTERM and SIGKILL. After ``exited`` it is for what the case leaves behind."""


def main(descriptor: str) -> None:
    """Monitor one case for the process that holds the other end of this connection."""
    with Connection(int(descriptor)) as client:
        monitor(client)


def monitor(
    client: Connection, *, server: psutil.Process | None = None, variables: Mapping[str, str] = {}
) -> None:
    """Start the process that the client asks for, see that to its end and tell how it ended.

    From the client come a `ProcessSpec` and, once it has read the case's folder or is gone, the end
    of the connection. `server` is the fork server that this process is a fork of, if it is one, and
    the variables are those of the environment that it has set while it imported.
    """
    stop: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: stop.append(f"the monitor ({number=})"))
    processes.become_subreaper()
    try:
        spec: ProcessSpec = client.recv()
    except (EOFError, OSError):  # the client thought better of it
        return
    watched = {"the workflow": psutil.Process(spec.workflow)}
    if server is not None:
        watched["the fork server"] = server
    oom_kills = memory.oom_kills()
    tree = ProcessTree(start_child(spec, client, variables), spec.folder)
    try:
        cause, detail = _wait_for_cause(spec, tree, client, watched, stop)
        survivors = tree.end(grace_s=GRACE_S[cause])
        ending = Ending(
            cause=cause,
            detail=detail,
            status=tree.status,
            ended_at=time.monotonic() if tree.ended_at is None else tree.ended_at,
            peak_children_bytes=tree.peak_children_bytes(),
            resident_bytes=tree.resident_bytes,
            survivors=survivors,
            oom_killed=memory.oom_kills() > oom_kills,
        )
        with suppress(ConnectionError):  # the client is gone
            client.send(ending)
            client.poll(None)  # it reads what it wants from the folder
    finally:
        tree.end(grace_s=0)
        folders.remove(Path(spec.folder))


def _wait_for_cause(
    spec: ProcessSpec,
    tree: ProcessTree,
    client: Connection,
    watched: Mapping[str, psutil.Process],
    stop: Sequence[str],
) -> tuple[Cause, str | None]:
    """Wait until the case has ended or has to; return why, and who is gone if that is why."""
    pids = [tree.pid, *(process.pid for process in watched.values())]
    descriptors = [client, *(processes.open_pidfd(pid) for pid in pids)]
    limit = _TimeLimit(spec)
    next_look = 0.0
    while True:
        now = time.monotonic()
        deadline = limit.deadline(now)
        gone = [*stop, *(name for name, process in watched.items() if processes.ended(process))]
        if client.poll():  # it says nothing more: this is the end of the connection
            gone.append("the client")
        tree.reap()
        if tree.status is not None:
            tree.look()  # its compilers may still be there
            return "exited", None
        if gone:
            return "gone", gone[0]
        if now >= next_look:
            tree.look()
            next_look = now + POLL_S
            if tree.resident_bytes > (spec.memory_limit_bytes or math.inf):
                return "memory", None
        if now >= deadline:
            return ("start" if limit.began_at is None else "time"), None
        processes.wait(descriptors, timeout_s=max(0.0, min(next_look, deadline) - now))


class _TimeLimit:
    """When the case's time is up: that to import in and, once its target began, the target's own.

    While the machine or its container was paused no time has passed.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.started_at = self.woke_at = time.monotonic()
        self.paused_s = 0.0
        self.began_at: float | None = None

    def deadline(self, now: float) -> float:
        """Return it; to be asked each time that the monitor wakes."""
        if now - self.woke_at > PAUSE_S:
            self.paused_s += now - self.woke_at
        self.woke_at = now
        if self.began_at is None and (began := child.read_began(self.spec.folder)) is not None:
            self.began_at = began.began_at
        if self.began_at is None:
            return self.started_at + self.spec.start_limit_s + self.paused_s
        return self.began_at + self.spec.time_limit_s + self.paused_s
