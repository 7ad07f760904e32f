"""Run a function in a process of its own and come back with how that ended, whatever happens.

An exception, a crash of the interpreter, a kill, a hang and a memory hog are outcomes just as a
value is. The package's docstring says which processes take part.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from torchmodes.processes import child, forkserver, processes
from torchmodes.processes.folders import make_places, private_folder
from torchmodes.processes.forkserver import PreloadError, ServerUnavailableError, Service
from torchmodes.processes.outcome import Outcome, conclude, remedy_of
from torchmodes.processes.spec import CASE_VARIABLE, Ending, ProcessSpec
from torchmodes.processes.start import command
from torchmodes.processes.workflow import workflow_process

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
    """Run a function in a process of its own and return how that ended, an exception included.

    The process has a session of its own, no standard input, the caller's folder, ``sys.path`` and
    environment, and a private temporary folder that is removed afterwards, with ``TMPDIR`` and the
    compile caches of Inductor and Triton in it. It, and all that it starts, ends with the caller.

    Parameters
    ----------
    target, argument
        ``package.module:function``, which takes one dict and returns a JSON value; in both a number
        that is not finite becomes null.
    log
        Where its standard output and error are appended; its folder is made.
    time_limit_s
        Seconds that the target may run; importing has a limit of its own, `START_LIMIT_S`.
    memory_limit_bytes
        Of the resident set of its processes together, looked at four times a second.
    start, preload
        ``fork`` a server that imported `preload` once (Linux; none of this package), or a ``fresh``
        process; ``auto`` forks where that can be.
    threads
        Sets OMP_NUM_THREADS and its like. ``torch.set_num_threads`` is the target's business.

    Raises
    ------
    ValueError, TypeError
        The argument is no JSON, or `start` is ``fork`` where none can be.
    ServerUnavailableError
        `start` is ``fork`` and the server could not be started (``auto`` then takes ``fresh``).
    """
    requested_at = time.monotonic()
    if start == "fork" and not processes.LINUX:
        raise ValueError("start: 'fork' needs Linux; 'auto' or 'fresh' works here")
    request = {"target": target, "argument": argument, "preload": list(preload)}
    request_text = json.dumps(request, allow_nan=False)
    log.parent.mkdir(parents=True, exist_ok=True)
    workflow = workflow_process()
    with private_folder() as folder:
        (folder / "request.json").write_text(request_text, encoding="ascii")
        spec = ProcessSpec(
            folder=str(folder),
            log=str(log.absolute()),
            start="fresh",
            start_limit_s=START_LIMIT_S,
            time_limit_s=time_limit_s,
            memory_limit_bytes=memory_limit_bytes,
            environment={
                **os.environ,
                **make_places(folder),
                **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))),
                **environment,
                CASE_VARIABLE: str(folder),
            },
            sys_path=[str(entry) for entry in sys.path],
            cwd=str(Path.cwd()),
            affinity=sorted(os.sched_getaffinity(0)) if processes.LINUX else None,
            workflow=workflow.pid,
        )
        service = Service(tuple(preload), spec.environment, workflow)
        outcome = _run(spec, start, service, requested_at)
        if outcome.traceback is not None:
            with suppress(OSError), log.open("ab") as stream:  # a full disk must not cost it
                stream.write(outcome.traceback.encode("utf-8", "replace"))
        return outcome


def _run(spec: ProcessSpec, start: Start, service: Service, requested_at: float) -> Outcome:
    if start == "fork" or (start == "auto" and service.preload and processes.LINUX):
        try:
            return _run_forked(replace(spec, start="fork"), service, requested_at)
        except ServerUnavailableError as error:
            if start == "fork":
                raise
            logger.warning("%s; the case runs in a fresh process instead", error)
    return _run_fresh(spec, requested_at)


def _run_forked(spec: ProcessSpec, service: Service, requested_at: float) -> Outcome:
    try:
        monitor, import_s = forkserver.connect(service, limit_s=START_LIMIT_S, log=Path(spec.log))
    except PreloadError as error:
        start_s = time.monotonic() - requested_at
        fault, remedy = error.fault, remedy_of(error.fault.error_type)
        return Outcome(
            "raised", None, **vars(fault), start_method="fork", start_s=start_s, remedy=remedy
        )
    with monitor:  # while it is open the monitor leaves the folder alone
        ending = _monitored(spec, monitor)
        return conclude(ending, spec, requested_at=requested_at, import_s=import_s)


def _run_fresh(spec: ProcessSpec, requested_at: float) -> Outcome:
    monitor, its_end = Pipe()
    with its_end, Path(spec.log).open("ab") as log:
        process = subprocess.Popen(
            command("torchmodes.processes.monitor", str(its_end.fileno())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[its_end.fileno()],
            start_new_session=True,  # Ctrl-C is for this process; the monitor ends when this ends
        )
    with process, monitor:  # leaving closes the connection, then waits for the monitor
        ending = _monitored(spec, monitor)
        return conclude(ending, spec, requested_at=requested_at, import_s=0.0)


def _monitored(spec: ProcessSpec, monitor: Connection) -> Ending:
    """Let the monitor start the process, and wait until it says how that ended."""
    try:
        monitor.send(spec)
        return monitor.recv()
    except (EOFError, OSError):
        return _without_monitor(spec)
    except BaseException:  # Ctrl-C, say: come back when nothing of the case is left
        with socket.socket(fileno=os.dup(monitor.fileno())) as stream:
            stream.shutdown(socket.SHUT_WR)
            while stream.recv(4096):
                continue
        raise


def _without_monitor(spec: ProcessSpec) -> Ending:
    """End what a monitor that was killed leaves behind."""
    began = child.read_began(spec.folder)
    session = None if began is None else began.session
    survivors = processes.end(
        lambda: processes.marked(CASE_VARIABLE, spec.folder, session=session), grace_s=0
    )
    return Ending(
        cause="gone",
        detail="its monitor",
        status=None,
        ended_at=time.monotonic(),
        survivors=tuple(sorted(survivors)),
    )
