"""What the tests of supervision share: jobs, workflows, and whether their processes are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

TARGETS = Path(__file__).parent
ROOT = TARGETS.parents[2]


def start_job(
    folder: Path, target: str, argument: dict[str, Any], *, package: Path = ROOT, **parameters: Any
) -> subprocess.Popen[bytes]:
    """Start a program that runs a case; its outcome will be in ``folder/outcome.json``."""
    return subprocess.Popen(
        job_command(folder, target, argument, **parameters), env=job_environment(package)
    )


def job_command(
    folder: Path, target: str, argument: dict[str, Any], **parameters: Any
) -> list[str]:
    case = {
        "target": f"faulty_targets:{target}",
        "argument": argument,
        "log": str(folder / "case.log"),
        "time_limit_s": 60,
        "preload": ["json"],
        **parameters,
    }
    run = str(TARGETS / "run_case.py")
    return [sys.executable, run, str(folder / "outcome.json"), json.dumps(case)]


def job_environment(package: Path = ROOT) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(package), str(TARGETS)))}


def outcome_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "outcome.json").read_text())


WORKFLOW = """
import json, subprocess, sys, time
from torchmodes.processes.workflow import name_workflow
name_workflow()
stages, wait_s = json.loads(sys.argv[1])
for jobs in stages:
    for job in [subprocess.Popen(job) for job in jobs]:
        job.wait()
time.sleep(wait_s)
"""


def start_workflow(
    folder: Path,
    *jobs: list[str],
    then: Sequence[list[str]] = (),
    wait_s: float = 0.0,
    path: Path = TARGETS,
) -> subprocess.Popen[bytes]:
    """Start a program that does as Snakemake: runs `jobs` together, `then` the others, waits.

    The jobs also find the modules in `path`.
    """
    environment = job_environment()
    environment["PYTHONPATH"] += os.pathsep + str(path)
    plan = json.dumps([[jobs, then], wait_s])
    return subprocess.Popen([sys.executable, "-c", WORKFLOW, plan], env=environment)


def server_of(workflow: int) -> psutil.Process | None:
    """Find the fork server of a workflow; its monitors and cases look alike but lead a session."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            ours = "torchmodes.processes.forkserver_main" in command
            if (
                ours
                and json.loads(command[-1])["workflow"] == workflow
                and os.getsid(process.pid) != process.pid
            ):
                return process
        except (psutil.Error, ProcessLookupError):
            continue
    return None


def wait_until(condition: Callable[[], Any], *, within_s: float) -> Any:
    """Return what the condition gives as soon as that is true; fail when the time is over."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.01)
    return result


def noted(note: Path) -> list[psutil.Process]:
    """Wait for a target that hangs and return the processes that it noted: itself the last."""
    wait_until(Path(f"{note}.ready").exists, within_s=30)
    return [psutil.Process(int(line)) for line in note.read_text().split()]


def all_gone(found: Iterable[psutil.Process]) -> bool:
    return not any(_lives(process) for process in found)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def private_folders() -> set[Path]:
    """List the private folders of cases that there are; a server keeps its own while it lives."""
    found = Path(tempfile.gettempdir()).glob("torchmodes-*")
    return {path for path in found if not path.name.startswith("torchmodes-server-")}
