"""What the fork server imports, and whether it is still safe to fork after that.

Threads, CUDA and OpenMP do not survive a fork: importing must leave none of them behind.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from torchmodes.processes import processes


@dataclass(frozen=True)
class Preloaded:
    """What importing the modules left in the fork server, for the cases that are forked from it.

    `hazard` says why the server must not be forked now, if so; `variables` are those of the
    environment that the modules set.
    """

    import_s: float
    hazard: str | None
    variables: Mapping[str, str]


def preload(
    modules: Sequence[str], *, places: Mapping[str, str], workflow: psutil.Process, limit_s: float
) -> Preloaded:
    """Import the modules, with temporary files and compiled code in these places.

    The process ends with the workflow, and at the limit.
    """
    os.environ.update(places)
    before = dict(os.environ)
    faulthandler.dump_traceback_later(limit_s, exit=True)  # says in the log what hangs
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0) if processes.ended(workflow) else None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    gc.disable()  # no garbage is sought among what stays for good
    begun = time.monotonic()
    gpu_holder = _import(modules)
    import_s = time.monotonic() - begun
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # the children's collector leaves these objects, and so their pages, alone
    gc.enable()
    # OpenBLAS (numpy's) ends its threads at a fork, and starts them when they are needed again.
    _in_a_fork(lambda: 0)
    return Preloaded(
        import_s=import_s,
        hazard=_hazard(gpu_holder),
        variables={k: v for k, v in os.environ.items() if before.get(k) != v},
    )


def _import(modules: Sequence[str]) -> str | None:
    """Import the modules; return the first that opened a GPU."""
    ours = set(_own_modules())
    holder = None
    for module in modules:
        importlib.import_module(module)
        if new := set(_own_modules()) - ours:
            raise ValueError(f"preload: {module} imports {min(new)}, which may change meanwhile")
        if module == "torch":
            _count_gpus_in_a_fork()
        if holder is None and _holds_gpu():
            holder = module
    if torch := sys.modules.get("torch"):
        torch.cuda._cached_device_count = None  # each case counts its GPUs itself
    return holder


def _own_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "torchmodes"]


def _hazard(gpu_holder: str | None) -> str | None:
    """Say why this process must not be forked, if so."""
    if gpu_holder is not None and _in_a_fork(_initialise_cuda) != 0:
        return f"importing {gpu_holder} initialised the GPU: a fork could not use it"
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        return f"importing the preload modules started {threads - 1} threads: forking is not safe"
    return None


# --- Asking about GPUs ------------------------------------------------------------------------


def _in_a_fork(function: Callable[[], int]) -> int:
    """Call the function in a fork, whose exit status it returns: at most 255, and no side effect.

    255 also where it raised.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 255
    try:
        status = function()
    finally:
        os._exit(status)


def _count_gpus_in_a_fork() -> None:
    """Let a fork ask NVML how many GPUs there are, and PyTorch take its word while it imports.

    NVML keeps a thread once it was asked (driver 580 does), and PyTorch asks at many imports.
    """
    import torch

    torch.cuda._cached_device_count = _in_a_fork(torch.cuda.device_count)


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


def _initialise_cuda() -> int:
    """Return 0 where CUDA can be initialised: not in a fork of a process that has done so."""
    try:
        return min(ctypes.CDLL("libcuda.so.1").cuInit(0), 1)
    except (OSError, AttributeError):  # another maker's GPU
        return 1
