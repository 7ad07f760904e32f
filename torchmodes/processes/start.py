"""How the process of a case starts: a fork of its monitor, which may become a new interpreter."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection

from torchmodes.processes import processes
from torchmodes.processes.memory import prefer_for_oom_kill
from torchmodes.processes.spec import ProcessSpec

# -P: a file json.py in the present folder must not come before the standard library's.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "import importlib; importlib.import_module(sys.argv[2]).main(*sys.argv[3:])"
)


def command(module: str, *arguments: str, sys_path: list[str] | None = None) -> list[str]:
    """Give the command that runs ``module.main(*arguments)`` with this interpreter and path."""
    path = json.dumps(sys.path if sys_path is None else sys_path)
    return [sys.executable, "-P", "-c", _BOOT, path, module, *arguments]


def start_child(spec: ProcessSpec, client: Connection, variables: Mapping[str, str]) -> int:
    """Fork the process of the case, which runs `child.main`, and return its number.

    Its environment has these variables, too, where they are not given.
    """
    monitor = os.getpid()
    log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 2)  # should the monitor itself fail, the log says how
    pid = os.fork()
    if pid:
        os.close(log)
        return pid
    try:
        client.close()  # its end tells the client of the monitor's end
        _settle(spec, monitor, log)
        environment = {**variables, **spec.environment}
        if spec.start == "fresh":
            run = command("torchmodes.processes.child", spec.folder, sys_path=spec.sys_path)
            os.execve(run[0], run, environment)  # noqa: S606 - no shell is wanted
        _run_forked(spec, environment)
    except BaseException:  # noqa: BLE001 - nothing may return from here into the monitor's code
        traceback.print_exc()
    finally:
        os._exit(os.EX_SOFTWARE)


def _settle(spec: ProcessSpec, monitor: int, log: int) -> None:
    """Give this process what the client has, and what keeps the client safe from it."""
    os.setsid()
    processes.die_with_parent(monitor)
    prefer_for_oom_kill()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, standard)
    os.close(nothing)
    os.close(log)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(spec.cwd)
    if spec.affinity is not None:
        os.sched_setaffinity(0, spec.affinity)


def _run_forked(spec: ProcessSpec, environment: Mapping[str, str]) -> None:
    """Run the case here, with what the fork server imported and nothing else of it."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = spec.sys_path
    tempfile.tempdir = None  # cached before TMPDIR was the case's
    # This package may have been edited since the server started: import all of it anew.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmodes"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    importlib.import_module("torchmodes.processes.child").main(spec.folder)
