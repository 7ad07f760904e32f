"""Run a function in a process of its own and come back with how that ended, whatever happens.

An exception, a crash of the interpreter, a kill, a hang and a memory hog are outcomes just as a
value is. Two processes take part besides the caller: the case's own (`child`) and its keeper
(`keeper`). Where a fork server serves, both are forks of it and need not import anything
(`forkserver`).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import psutil

from torchmodes.processes import child, forkserver, keeper, messages, processes
from torchmodes.processes.folders import private_folder
from torchmodes.processes.forkserver import PreloadError, ServerUnavailableError, Service
from torchmodes.processes.keeper import CASE_VARIABLE, Case, Ending
from torchmodes.processes.outcome import Outcome, conclude, not_begun
from torchmodes.processes.processes import Process

__all__ = ["Outcome", "run_supervised", "workflow_process"]

Start = Literal["auto", "fork", "fresh"]
START_LIMIT_S = 300.0  # for imports: those of a case, or of the fork server
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

logger = logging.getLogger(__name__)


def run_supervised(
    target: str,
    argument: dict[str, Any],
    *,
    log: Path,
    time_limit_s: float,
    memory_limit_bytes: int | None = None,
    start: Start = "auto",
    preload: Sequence[str] = (),
    threads: int | None = None,
    environment: Mapping[str, str] = {},
) -> Outcome:
    """Run a function in a process of its own and return how that ended.

    The process has a session of its own, no standard input, the caller's folder, ``sys.path`` and
    environment, and a private temporary folder that is removed afterwards, with ``TMPDIR`` and the
    compile caches of Inductor and Triton in it. It, and all that it starts, ends with the caller.

    Parameters
    ----------
    target
        ``package.module:function``; the function takes one dict and returns a JSON value, in which
        a number that is not finite becomes null.
    argument
        What it takes: JSON.
    log
        Where its standard output and error are appended; its folder is made.
    time_limit_s
        Seconds that the target may run; importing has a limit of its own, `START_LIMIT_S`.
    memory_limit_bytes
        Of the resident set of its processes together, looked at four times a second.
    start
        ``fork`` a server that imported `preload` once (Linux), or a ``fresh`` process; ``auto``
        forks where that can be.
    preload
        Modules to import before the target, none of this package. A fork server keeps them.
    threads
        Sets OMP_NUM_THREADS and its like. ``torch.set_num_threads`` is the target's business.
    environment
        Variables on top of the caller's.

    Returns
    -------
    Outcome
        Also for an exception of the target and for a module that cannot be imported.

    Raises
    ------
    ValueError, TypeError
        A parameter is wrong, the argument is no JSON, or `start` is ``fork`` where none can be.
    ServerUnavailableError
        `start` is ``fork`` and the server could not be started (``auto`` then takes ``fresh``).
    """
    requested_at = time.monotonic()
    _check(target, start, preload, time_limit_s, memory_limit_bytes, threads)
    request = {"target": target, "argument": argument, "preload": list(preload)}
    request_text = json.dumps(request, allow_nan=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    with private_folder() as folder, log.open("ab", buffering=0) as stream:
        (folder / "request.json").write_text(request_text, encoding="ascii")
        case = Case(
            folder=str(folder),
            start="fresh",
            start_limit_s=START_LIMIT_S,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            environment=_environment(folder, threads, environment),
            sys_path=[str(entry) for entry in sys.path],
            cwd=str(Path.cwd()),
            affinity=sorted(os.sched_getaffinity(0)) if processes.LINUX else None,
        )
        client = _Client(case, workflow_process(), stream, requested_at)
        outcome = _run(client, start, tuple(preload))
        if outcome.traceback is not None:
            with suppress(OSError):  # a full disk must not cost the outcome
                stream.write(outcome.traceback.encode("utf-8", "replace"))
        return outcome


def workflow_process() -> Process:
    """Find the process that the fork server lives for.

    It is the outermost ancestor that is Snakemake, so that all jobs of a workflow find one server,
    and without one the calling process.
    """
    for ancestor in reversed(psutil.Process().parents()):
        with suppress(psutil.Error):  # it has just ended, or is somebody else's
            found = processes.identify(ancestor.pid)
            if found is not None and is_snakemake(ancestor.cmdline()):
                return found
    own = processes.identify(os.getpid())
    assert own is not None
    return own


def is_snakemake(command: Sequence[str]) -> bool:
    """Tell whether a command line is Snakemake itself, not a shell or an editor that names it."""
    names = [Path(word).name for word in command]
    if not names or not names[0].startswith("python"):
        return names[:1] == ["snakemake"]
    words = iter(names[1:])
    for word in words:
        if word in ("-X", "-W"):
            next(words, None)  # its value
        elif word == "-m":
            return next(words, "") in ("snakemake", "snakemake.cli")
        elif not word.startswith("-"):
            return word == "snakemake"
        elif word == "-c":
            return False
    return False


def _check(
    target: str,
    start: str,
    preload: Sequence[str],
    time_limit_s: float,
    memory_limit_bytes: int | None,
    threads: int | None,
) -> None:
    module, colon, function = target.partition(":")
    if not (module and colon and function) or module == "__main__":
        raise ValueError(f"target: {target!r} is not package.module:function")
    if start not in get_args(Start):
        raise ValueError(f"start: {start!r} is not one of {', '.join(get_args(Start))}")
    if start == "fork" and not processes.LINUX:
        raise ValueError("start: 'fork' needs Linux; 'auto' or 'fresh' works here")
    if isinstance(preload, str):
        raise TypeError(f"preload: {preload!r} is one text, not a list of modules")
    for name in preload:
        if name.partition(".")[0] == "torchmodes":
            raise ValueError(f"preload: {name} may be edited meanwhile: the server would keep it")
    for key, value in (
        ("time_limit_s", time_limit_s),
        ("memory_limit_bytes", memory_limit_bytes),
        ("threads", threads),
    ):
        if value is not None and not value > 0:
            raise ValueError(f"{key}: {value!r} is not above 0")


def _environment(
    folder: Path, threads: int | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """Give the variables of the case, and make the folders that they name."""
    return {
        **os.environ,
        **keeper.private_places(folder),
        **({name: str(threads) for name in THREAD_VARIABLES} if threads is not None else {}),
        **environment,
        CASE_VARIABLE: str(folder),
    }


# --- Being the client of a keeper ------------------------------------------------------------


@dataclass(frozen=True)
class _Client:
    case: Case
    workflow: Process
    log: BinaryIO
    requested_at: float


def _run(client: _Client, start: Start, preload: tuple[str, ...]) -> Outcome:
    if start == "fork" or (start == "auto" and preload and processes.LINUX):
        try:
            return _run_forked(client, preload)
        except ServerUnavailableError as error:
            if start == "fork":
                raise
            logger.warning("%s; the case has a fresh process instead", error)
    return _run_fresh(client)


def _run_forked(client: _Client, preload: tuple[str, ...]) -> Outcome:
    case = replace(client.case, start="fork")
    service = Service(preload, case.environment, client.workflow)
    try:
        connection, import_s = forkserver.connect(service, limit_s=START_LIMIT_S, log=client.log)
    except PreloadError as error:
        return not_begun(error.fault, start_s=time.monotonic() - client.requested_at)
    with connection:  # while it is open the keeper leaves the folder alone
        ending = _hand_over(connection, replace(client, case=case))
        return conclude(ending, case, requested_at=client.requested_at, import_s=import_s)


def _run_fresh(client: _Client) -> Outcome:
    connection, process = keeper.start_keeper(client.log)
    with process, connection:  # leaving closes the connection, then waits for the keeper
        try:
            messages.receive(connection)
            ending = _hand_over(connection, client)
        except EOFError:
            ending = _without_keeper(client.case)
        return conclude(ending, client.case, requested_at=client.requested_at, import_s=0.0)


def _hand_over(connection: socket.socket, client: _Client) -> Ending:
    """Give the case to the keeper and wait for the end that it tells."""
    try:
        message = {"case": asdict(client.case), "workflow": asdict(client.workflow)}
        messages.send(connection, message, files=[client.log.fileno()])
        ending, _ = messages.receive(connection)
        return Ending(**ending)
    except (EOFError, ConnectionError):
        return _without_keeper(client.case)
    except BaseException:  # Ctrl-C, say: come back when nothing of the case is left
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            continue
        raise


def _without_keeper(case: Case) -> Ending:
    """End what a keeper that was killed leaves behind."""
    session = child.began(case.folder).get("session")
    mark = {CASE_VARIABLE: case.folder}
    survivors = processes.end(lambda: processes.marked(mark, session=session), grace_s=0)
    return Ending(
        cause="gone",
        detail="its keeper",
        status=None,
        ended_at=time.monotonic(),
        peak_rss_bytes=0,
        peak_children_bytes=0,
        resident_bytes=0,
        survivors=sorted(survivors),
    )
