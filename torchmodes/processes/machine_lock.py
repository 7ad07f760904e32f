"""One measurement at a time on a machine, whatever folder it was started from.

Within one folder the workflow's `machine` resource sees to that; it does not know of a run in
another folder, nor of what a killed run has not ended yet.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torchmodes.processes import processes
from torchmodes.processes.jobs import SupervisorLost
from torchmodes.processes.workflow import workflow_process
from torchmodes.results.writing import tell

POLL_S = 0.25

logger = logging.getLogger(__name__)


@contextmanager
def alone_on_machine(path: Path | None = None) -> Generator[None]:
    """Wait until no other measurement runs on this machine, and keep others waiting meanwhile.

    The lock is advisory (``flock``) and ends with the process, however that ends. Where no lock can
    be had, on a temporary folder that cannot be written say, the log says so and work goes on.

    Raises
    ------
    SupervisorLost
        When the workflow was killed meanwhile: nobody waits for this job any more.
    """
    path = path or lock_file(os.environ)
    with ExitStack() as held:
        try:
            descriptor = _open(path)
            held.callback(os.close, descriptor)
            _lock(descriptor, path)
        except OSError as error:
            logger.warning(_unlocked(error))
        yield


def lock_file(environment: Mapping[str, str]) -> Path:
    """Return the lock of this machine, or of the GPUs that a scheduler has given to this job.

    Jobs that a scheduler gave different GPUs of a node do not wait for each other.
    """
    gpus = re.sub(r"[^\w,-]", "_", environment.get("CUDA_VISIBLE_DEVICES", ""))
    return Path(tempfile.gettempdir(), f"torchmodes-{gpus or 'machine'}.lock")


def lock_fault(path: Path | None = None) -> str | None:
    """Say why the lock cannot be had here, or return None: to be said once, before any job."""
    try:
        os.close(_open(path or lock_file(os.environ)))
    except OSError as error:
        return _unlocked(error)
    return None


def _unlocked(error: OSError) -> str:
    return (
        f"no lock against measurements from other folders ({error}): do not measure in two at once,"
        " or set TMPDIR, the same for all, to a folder in which files can be locked"
    )


def _open(path: Path) -> int:
    """Open a lock file for writing, which NFS asks for, or for reading if it is another user's.

    Whatever the umask, others may read it: to lock it they need no more. Where anybody may have put
    something else in its place, nothing is waited for and no link is followed.
    """
    safely = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, os.O_RDWR | safely)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | safely, 0o644)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY | safely)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        if found.st_nlink > 1:  # by its other name it may be private: nobody else shall read it
            raise OSError(errno.EMLINK, "A file with several names", str(path))
        if found.st_uid == os.getuid() and found.st_mode & 0o444 != 0o444:
            os.fchmod(descriptor, 0o644)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    workflow = workflow_process()
    waited = False
    while True:
        if processes.ended(workflow):
            raise SupervisorLost("the workflow has ended; run snakemake again")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waited:
                message = f"waiting: another measurement runs on this machine and holds {path}"
                logger.warning(message)
                tell(message, to=sys.stderr)
            waited = True
            time.sleep(POLL_S)
            continue
        if waited:
            logger.warning("the other measurement has ended")
        return
