"""The keeper: a light process beside each case that sees to it that the case ends, and how.

It starts the case's process and is the only one to end it: at the time limit, at the memory limit,
or when nobody is left to hear the outcome. On Linux it is the subreaper of all that the case
starts, so that not even a grandchild in a session of its own gets away. It is either a program of
its own (`start_keeper`) or a fork of the fork server; then the case is a fork as well and has what
the server imported.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from torchmodes.processes import child, folders, messages, processes
from torchmodes.processes.processes import Process, Watch

POLL_S = 0.25  # how often memory is looked at: seldom, so as not to disturb the measurement
GRACE_S = 2.0  # between SIGTERM and SIGKILL
PAUSE_S = 5.0  # a keeper that wakes so late was stopped itself, and its case with it
MEMORY_GRACE_S = 0.2  # the same for a process that eats memory meanwhile
LEFTOVER_GRACE_S = 1.0  # the same for what a finished case leaves behind
CASE_VARIABLE = "TORCHMODES_CASE"  # marks a case's processes: its folder
PLACES = {"TMPDIR": "tmp", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""Variables that say where temporary files and compiled code go, and their folders in a private
one."""

# -P: a file json.py in the present folder must not come before the standard library's.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "import importlib; importlib.import_module(sys.argv[2]).main(*sys.argv[3:])"
)


@dataclass(frozen=True)
class Case:
    """What the client tells a keeper; `folder` holds the rest (see `child`)."""

    folder: str
    start: Literal["fork", "fresh"]
    start_limit_s: float
    time_limit_s: float
    memory_limit_bytes: int | None
    environment: dict[str, str]
    sys_path: list[str]
    cwd: str
    affinity: list[int] | None


@dataclass(frozen=True)
class Constant:
    """A name of a module that was given a path below one of the server's `PLACES`."""

    module: str
    name: str
    variable: str

    def move(self, places: Mapping[str, str], environment: Mapping[str, str]) -> None:
        """Let it name the same path below the case's own place."""
        holder = vars(sys.modules[self.module])
        path = str(holder[self.name])
        moved = environment[self.variable] + path.removeprefix(places[self.variable])
        holder[self.name] = type(holder[self.name])(moved)


@dataclass(frozen=True)
class Imported:
    """What importing the preload modules left in the fork server.

    Attributes
    ----------
    variables
        Of the environment, that they set.
    places
        Where temporary files and compiled code went meanwhile, by the variables of `PLACES`.
    constants
        What they made of these places, once and for all that are forked.
    """

    variables: Mapping[str, str]
    places: Mapping[str, str]
    constants: Sequence[Constant]


NOTHING_IMPORTED = Imported({}, {}, ())


def constants_in(places: Mapping[str, str]) -> list[Constant]:
    """List what modules hold that lies below these places, such as Inductor's `_HEADER_DIR`."""
    return [
        Constant(module, name, variable)
        for module, loaded in list(sys.modules.items())
        for name, value in list(getattr(loaded, "__dict__", {}).items())
        if isinstance(value, str | Path)
        for variable, place in places.items()
        if f"{value}{os.sep}".startswith(f"{place}{os.sep}")
    ]


Cause = Literal["exited", "time", "start", "memory", "gone"]


@dataclass
class Ending:
    """How a case's process ended, as its keeper saw it; times on the monotonic clock.

    Attributes
    ----------
    cause
        ``exited`` by itself, or ended by the keeper: the ``time`` limit, the ``start`` limit (it
        was still importing), the ``memory`` limit, or somebody ``gone`` without whom it is no use.
    detail
        Who is gone.
    status
        As from ``wait``: exit status or signal.
    peak_rss_bytes
        High-water mark of the process itself, at the last look.
    peak_children_bytes
        The largest high-water mark seen among the processes it started.
    resident_bytes
        Resident set of them all at the last look.
    oom_killed
        The kernel killed for want of memory meanwhile.
    survivors
        Processes that not even SIGKILL ended.
    """

    cause: Cause
    detail: str | None
    status: int | None
    ended_at: float
    peak_rss_bytes: int
    peak_children_bytes: int
    resident_bytes: int
    survivors: list[int]
    oom_killed: bool = False


# --- Starting programs -----------------------------------------------------------------------


def command(module: str, *arguments: str, sys_path: list[str] | None = None) -> list[str]:
    """Give the command that runs ``module.main(*arguments)`` with this interpreter and path."""
    path = json.dumps(sys.path if sys_path is None else sys_path)
    return [sys.executable, "-P", "-c", _BOOT, path, module, *arguments]


def start_keeper(log: BinaryIO) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a keeper as a program of its own; it greets over the socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            command(__name__, str(theirs.fileno())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the client; the keeper ends when that ends
        )
    return ours, process


def main(descriptor: str) -> None:
    """Keep one case for the parent process, which holds the other end of the socket."""
    with socket.socket(fileno=int(descriptor)) as connection:
        client = processes.identify(os.getppid())
        keep(connection, owners={"the client": client})


def private_places(folder: Path) -> dict[str, str]:
    """Make the folders of `PLACES` in a private one; return the variables that name them."""
    for name in PLACES.values():
        (folder / name).mkdir(mode=0o700)
    return {variable: str(folder / name) for variable, name in PLACES.items()}


# --- Keeping a case --------------------------------------------------------------------------


def keep(
    connection: socket.socket,
    *,
    owners: Mapping[str, Process | None],
    import_s: float = 0.0,
    imported: Imported = NOTHING_IMPORTED,
) -> None:
    """Greet the client, take its case, see that to its end and tell the client.

    Parameters
    ----------
    connection
        The client's; when it closes, the client is gone.
    owners
        Those without whom the case is no use, by name. None: gone already.
    import_s, imported
        Seconds that importing the preload modules took here, and what they left.
    """
    stop = [name for name, owner in owners.items() if owner is None]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: stop.append(f"the keeper ({number=})"))
    processes.become_subreaper()
    try:
        messages.send(connection, {"import_s": import_s})
        request, (log,) = messages.receive(connection, files=1)
    except (EOFError, ConnectionError):  # the client thought better of it
        return
    case = Case(**request["case"])
    os.dup2(log, 2)  # should the keeper itself fail, the log says how
    watches = {name: Watch(owner) for name, owner in owners.items() if owner is not None}
    watches["the workflow"] = Watch(Process(**request["workflow"]))
    oom_kills = processes.oom_kills()
    family = _Family(_start(case, connection, log, imported), case.folder)
    os.close(log)
    try:
        ending = _watch(case, family, connection, watches, stop)
        ending.oom_killed = processes.oom_kills() > oom_kills
        with suppress(ConnectionError):  # the client is gone
            messages.send(connection, asdict(ending))
    finally:
        processes.end(family.living, grace_s=0)
        _wait_until_left(connection, watches.get("the client"))
        folders.remove(Path(case.folder))


def _wait_until_left(connection: socket.socket, client: Watch | None) -> None:
    """Wait until the client has read what it wants from the folder, or is gone."""
    while client is not None and not client.ended() and not messages.is_closed(connection):
        select.select([connection], [], [], POLL_S)


def _watch(
    case: Case,
    family: _Family,
    connection: socket.socket,
    watches: Mapping[str, Watch],
    stop: Sequence[str],
) -> Ending:
    """Wait for the end of the case, or bring it about."""
    descriptors = [
        connection.fileno(),
        processes.open_pidfd(family.pid),
        *(watch.descriptor for watch in watches.values()),
    ]
    awake = [descriptor for descriptor in descriptors if descriptor is not None]
    # Where the kernel cannot tell that a process ended, ask for it more often than for the memory.
    longest_wait_s = POLL_S if len(awake) == len(descriptors) else 0.02
    started_at = woke_at = time.monotonic()
    paused_s = 0.0  # of the machine or its container: no limit is for that
    began_at: float | None = None
    next_look = 0.0
    resident = 0

    def ending(cause: Cause, *, grace_s: float, detail: str | None = None) -> Ending:
        survivors = processes.end(family.living, grace_s=grace_s)
        return family.ending(cause, detail, resident, survivors)

    while True:
        family.reap()
        now = time.monotonic()
        if now - woke_at > PAUSE_S:
            paused_s += now - woke_at
        woke_at = now
        gone = [*stop, *(name for name, watch in watches.items() if watch.ended())]
        if messages.is_closed(connection):
            gone.append("the client")
        if family.status is not None:
            family.look()  # its compilers may still be there
            return ending("exited", grace_s=LEFTOVER_GRACE_S)
        if gone:
            return ending("gone", grace_s=0, detail=gone[0])
        if now >= next_look:
            resident = family.look()
            next_look = now + POLL_S
            if case.memory_limit_bytes is not None and resident > case.memory_limit_bytes:
                return ending("memory", grace_s=MEMORY_GRACE_S)
        if began_at is None:
            began_at = child.began(case.folder).get("began_at")
        deadline = paused_s + (
            started_at + case.start_limit_s if began_at is None else began_at + case.time_limit_s
        )
        if now >= deadline:
            return ending("start" if began_at is None else "time", grace_s=GRACE_S)
        wait_s = min(next_look, deadline, now + longest_wait_s) - now
        select.select(awake, [], [], max(wait_s, 0.0))


class _Family:
    """The process of a case and all that it started."""

    def __init__(self, pid: int, folder: str) -> None:
        self.pid = pid
        self.folder = folder
        self.status: int | None = None
        self.ended_at = 0.0
        self.peaks: dict[int, list[int]] = {}

    def reap(self) -> None:
        """Take leave of those that ended, or they would stay as zombies."""
        with suppress(ChildProcessError):  # there is none
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == self.pid:
                    self.status, self.ended_at = ended[1], time.monotonic()

    def living(self) -> set[int]:
        """List those that live still."""
        self.reap()
        living = processes.descendants(os.getpid())
        if not processes.LINUX:  # no subreaper: an orphan is no descendant of the keeper
            living |= processes.marked({CASE_VARIABLE: self.folder}, session=self.pid)
        return living

    def look(self) -> int:
        """Note the high-water marks; return the resident set of all in bytes.

        Pages that several processes share count for each of them.
        """
        resident = 0
        for pid in processes.descendants(os.getpid()):
            if (memory := processes.memory(pid)) is not None:
                self.peaks.setdefault(pid, []).append(memory.peak_bytes)
                resident += memory.resident_bytes
        return resident

    def ending(
        self, cause: Cause, detail: str | None, resident: int, survivors: set[int]
    ) -> Ending:
        """Sum up."""
        # The last mark, not the largest: the case resets its own when it begins. A process that was
        # seen only once may have been on its way to run another program, with its parent's mark.
        own = self.peaks.pop(self.pid, [0])[-1]
        others = [peaks[-1] for peaks in self.peaks.values() if len(peaks) > 1]
        return Ending(
            cause=cause,
            detail=detail,
            status=self.status,
            ended_at=self.ended_at or time.monotonic(),
            peak_rss_bytes=own,
            peak_children_bytes=max(others, default=0),
            resident_bytes=resident,
            survivors=sorted(survivors),
        )


# --- The case's own process ------------------------------------------------------------------


def _start(case: Case, connection: socket.socket, log: int, imported: Imported) -> int:
    """Fork the process of the case and return its number."""
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        connection.close()  # its end tells the client of the keeper's end
        _settle(case, keeper, log)
        # What an import sets it sets only where the variable was not given: the case's come last.
        environment = {**imported.variables, **case.environment}
        if case.start == "fresh":
            run = command("torchmodes.processes.child", case.folder, sys_path=case.sys_path)
            os.execve(run[0], run, environment)  # noqa: S606 - no shell is wanted
        _run_forked(case, environment, imported)
    except BaseException:  # noqa: BLE001 - nothing may return from here into the keeper's code
        traceback.print_exc()
    finally:
        os._exit(os.EX_SOFTWARE)


def _settle(case: Case, keeper: int, log: int) -> None:
    """Give this process what the client has, and what keeps the client safe from it."""
    os.setsid()
    processes.die_with_parent(keeper)
    processes.prefer_for_oom_kill()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, standard)
    os.close(nothing)
    os.close(log)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(case.cwd)
    if case.affinity is not None:
        os.sched_setaffinity(0, case.affinity)


def _run_forked(case: Case, environment: Mapping[str, str], imported: Imported) -> None:
    """Run the case here, with what the fork server imported and nothing else of it."""
    for constant in imported.constants:
        constant.move(imported.places, environment)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = case.sys_path
    tempfile.tempdir = None  # cached before TMPDIR was the case's
    # This package may have been edited since the server started: import all of it anew.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmodes"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    importlib.import_module("torchmodes.processes.child").main(case.folder)
