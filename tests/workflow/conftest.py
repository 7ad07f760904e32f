"""The smoke workflow, run once in a copy of the repository, for every test here to look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from workflow.dry_runs import dry_run

ROOT = Path(__file__).parents[2]
MARK = "TORCHMODES_TEST_FOLDER"
CONFIG = ("--configfile", "config/smoke.yaml")


@dataclass(frozen=True)
class Workflow:
    """A copy of the repository in which Snakemake runs."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process that works for this copy, by which it is told apart.

        Its temporary folder is its own: by the lock in one, tests side by side would take turns.
        """
        temporary = self.folder.with_name("tmp")
        temporary.mkdir(exist_ok=True)
        return os.environ | {MARK: str(self.folder), "TMPDIR": str(temporary)}

    def left_over(self) -> list[str]:
        """Return the command lines of processes that work for this copy."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder):
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:  # it ended meanwhile, or is not ours to look at
                continue
        return found

    def run(self, *arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        """Run Snakemake and return how it ended, stdout and stderr together."""
        words = ("--cores", "4", *arguments)
        if "--dry-run" in arguments:
            return dry_run(*words, folder=self.folder, environment=self.environment)
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def smoke(self, *arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on the smoke configuration."""
        return self.run(*arguments, *CONFIG, timeout=timeout)

    def planned(self, *arguments: str) -> list[str]:
        """Return the rules a dry run of the smoke configuration would run, one entry per job."""
        ran = self.smoke("--dry-run", *arguments)
        assert ran.returncode == 0, ran.stdout
        rules = [
            line.split()[1].rstrip(":") for line in ran.stdout.splitlines() if line[:5] == "rule "
        ]
        return [rule for rule in rules if rule != "all"]

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands exactly once in a file."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")


def copy_repository(folder: Path) -> Workflow:
    """Copy what git tracks, or would: no results, no environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return Workflow(folder)


@pytest.fixture
def fresh(tmp_path: Path) -> Workflow:
    """A copy in which nothing has run."""
    return copy_repository(tmp_path / "torch modes")  # a space: paths must survive it


@pytest.fixture(scope="session")
def _finished(shared_folder: Path) -> Workflow:
    """One run for all workers of pytest-xdist: the first to come makes it, the others wait."""
    folder, log = shared_folder / "finished" / "torch modes", shared_folder / "finished.log"
    with FileLock(shared_folder / "finished.lock"):
        if not folder.exists():
            ran = copy_repository(folder).smoke()
            log.write_text(f"exit code {ran.returncode}\n{ran.stdout}", encoding="utf-8")
    printed = log.read_text(encoding="utf-8")
    assert printed.startswith("exit code 0\n"), printed
    return Workflow(folder)


@pytest.fixture
def finished(_finished: Workflow, tmp_path: Path) -> Workflow:
    """A copy of a finished smoke run, to be changed at will."""
    folder = tmp_path / "torch modes"
    shutil.copytree(_finished.folder, folder, symlinks=True)
    return Workflow(folder)
