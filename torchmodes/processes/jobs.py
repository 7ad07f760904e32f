"""Jobs: what a workflow job runs in a supervised process of its own, and how it ended.

Nothing here imports PyTorch, so that a job costs little beside its work.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torchmodes.config.models import FAMILIES
from torchmodes.config.run import Measurement
from torchmodes.machine.devices import cuda_device_count
from torchmodes.machine.machine import container, host_name
from torchmodes.planning.job import Job
from torchmodes.processes.allocator import allocator_environment, allocator_missing
from torchmodes.processes.folders import PLACES, private_folder
from torchmodes.processes.outcome import Outcome
from torchmodes.processes.supervise import run_supervised
from torchmodes.results.reading import CorruptFile, Result, read_json
from torchmodes.results.writing import encodable

PRELOAD = (
    "torch",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch.profiler",
    "scipy.special",
    "pandas",
    "psutil",
)
"""What a fork server imports once; every process that runs a model needs it."""

RUN_TARGET = "torchmodes.workloads.workload:run_target"
"""What the process of every job calls."""

COMPILE_CACHE = Path(".cache", host_name(platform.node(), container(os.environ)) or "container")
"""Shared by jobs that do not measure the cold start: training and profiling.

One for each node of a cluster: code compiled for another's processor may not run here.
"""

HEADERS = "precompiled_headers"
"""The folder of Inductor's precompiled headers, in that of its cache."""

logger = logging.getLogger(__name__)


class _Build(Result):
    """What ``build.json`` tells; `torchmodes.workloads.operators.build` writes it."""

    status: Literal["ok", "unsupported"]
    reason: str | None = None
    remedy: str | None = None


class SupervisorLost(RuntimeError):
    """What watched over the process was killed, so its end tells nothing of the case."""


def shared_compile_cache() -> dict[str, str]:
    """Return the environment in which compiled code is kept for this folder's next job here.

    Empty, so that the job has a cache of its own, where the folder is another user's: compiled code
    is run as it is found.
    """
    return caches_in(COMPILE_CACHE) if _is_private(COMPILE_CACHE) else {}


def run_cold(
    target: str, job: Job, *, log: Path, **options: Any
) -> tuple[dict[str, Any], Outcome | None]:
    """Run a target with an empty compile cache, as `run_job` does.

    What it compiled then joins the cache that training and profiles share: they run the same code
    and measure no cold start. Where it cannot be kept, the log says so: what was measured counts.
    """
    with private_folder("cache-") as folder:
        parts, outcome = run_job(target, job, log=log, environment=caches_in(folder), **options)
        if parts["status"] == "ok" and _is_private(COMPILE_CACHE):
            _keep(folder)
    return parts, outcome


def run_warm(
    target: str, job: Job, *, log: Path, **options: Any
) -> tuple[dict[str, Any], Outcome | None]:
    """Run a target with what this folder's jobs compiled so far, as `run_job` does."""
    return run_job(target, job, log=log, environment=shared_compile_cache(), **options)


def caches_in(folder: Path) -> dict[str, str]:
    """Return the environment in which compiled code is kept in a folder."""
    return {
        variable: str((folder / place).resolve())
        for variable, place in PLACES.items()
        if variable != "TMPDIR"
    }


def keep_headers_with_cache() -> None:
    """Let Inductor, in the process of a job, keep precompiled headers in the folder of its cache.

    It has them in the temporary folder, a fork in that of its server: there a cold start would find
    those of an earlier one, and a warm start would not find its own.
    """
    codecache = sys.modules.get("torch._inductor.codecache")
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if codecache is not None and cache is not None:
        headers = Path(cache, HEADERS).absolute()
        vars(codecache).update(_HEADER_DIR=str(headers), _HEADER_LOCK_DIR=str(headers / "locks"))


def _is_private(folder: Path) -> bool:
    """Make a folder that only this user can enter; tell whether it is such a one now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            logger.warning("compiled code is not shared: %s is another user's", folder)
            return False
        folder.chmod(0o700)
    except OSError as error:
        logger.warning("compiled code is not shared: %s", error)
        return False
    return True


def _keep(folder: Path) -> None:
    """Copy compiled code to the shared cache, without headers: 158 MB for each set of flags."""
    try:
        for cache in folder.iterdir():
            if cache.is_dir():
                shutil.copytree(
                    cache,
                    COMPILE_CACHE / cache.name,
                    dirs_exist_ok=True,
                    copy_function=_copy_whole,
                    ignore=shutil.ignore_patterns(HEADERS),
                )
    except OSError as error:
        told = str(error)[:500]  # copytree tells every file
        logger.warning("compiled code cannot be kept in %s for other jobs: %s", COMPILE_CACHE, told)


def _copy_whole(source: str, target: str) -> None:
    """Copy a file so that a job that reads the cache meanwhile never sees a part of it."""
    temporary = Path(f"{target}.{os.getpid()}")
    try:
        shutil.copy2(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def run_job(
    target: str,
    job: Job,
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], Outcome | None]:
    """Run a target on a job in a process of its own, as `run_process` does.

    The target (``package.module:function``) takes the job and the options, which are JSON values;
    see `torchmodes.workloads.workload.carry_out`. Where the custom operators that the case needs
    could not be built, or its allocator is not here, no process is started and there is no outcome.
    """
    allocator = job.measurement.allocator
    if refusal := operators_missing(job.operators) or allocator_missing(allocator):
        return refusal, None
    return run_process(
        RUN_TARGET,
        {"target": target, "job": job.to_json(), "options": options},
        limits=job.measurement,
        threads=job.threads,
        family=job.model["family"],
        log=log,
        environment=allocator_environment(allocator) | dict(environment or {}),
    )


def run_process(
    target: str,
    argument: dict[str, Any],
    *,
    limits: Measurement,
    threads: int,
    log: Path,
    family: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Outcome]:
    """Run a function in a process of its own, within limits.

    Parameters
    ----------
    target, argument
        ``package.module:function``, and the dictionary that it takes: JSON values.
    family
        Of the model that it will build, whose libraries a fork server imports.

    Returns
    -------
    parts
        What the target returned, a dictionary with ``status``, or a description of its failure.
    outcome
        How the process ended.

    Raises
    ------
    SupervisorLost
        When the workflow or the fork server was killed meanwhile: no result, not a wrong one.
    """
    limit_mb, gpu = limits.memory_limit_mb, cuda_device_count() > 0
    slow = FAMILIES[family].preloadable(gpu=gpu) if family is not None else ()
    outcome = run_supervised(
        target,
        argument,
        log=log,
        time_limit_s=limits.time_limit_s,
        memory_limit_bytes=None if limit_mb is None else limit_mb * 10**6,
        start=limits.start,
        preload=(*PRELOAD, *slow),
        threads=threads,
        environment=environment or {},
    )
    if outcome.error_type == "SupervisorLost":
        raise SupervisorLost(f"{outcome.message}; run snakemake again")
    if outcome.kind == "returned":
        assert isinstance(outcome.value, dict)
        return encodable(outcome.value), outcome
    failed = {
        "status": "failed",
        "reason": outcome.message,
        "remedy": outcome.remedy or f"see {log}",
        "failure": {
            "type": outcome.error_type,
            "message": outcome.message,
            "traceback": outcome.traceback,
            "log": str(log),
        },
    }
    return encodable(failed), outcome


def operators_missing(library: Path | None) -> dict[str, Any] | None:
    """Say why the custom operators are not there, or return None when they are or are not needed.

    Beside the library lies ``build.json``, which tells how building went.
    """
    if library is None:
        return None
    try:
        build = read_json(library.with_name("build.json"), _Build)
    except CorruptFile as error:
        found = error.unreadable
        reason = f"{found.path} {found.reason}"
        return {"status": "failed", "reason": reason, "remedy": found.remedy}
    return None if build.status == "ok" else encodable(build.model_dump())
