"""Every command of the pages is executed, or planned, or marked as needing what is not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import NOT_EXECUTED, Fence, fences, pages
from workflow.conftest import Workflow

pytestmark = pytest.mark.workflow
EXECUTED = ("snakemake", "python", "make")
MAKE_TARGETS = {"help", "compare"}
"""What an unmarked fence may make: nothing that takes minutes or changes the machine."""


def executed_fences(page: Path) -> list[Fence]:
    return [
        fence
        for fence in fences(page)
        if fence.commands and not NOT_EXECUTED.intersection(fence.words)
    ]


PAGES = [page for page in pages() if executed_fences(page)]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of commands: this environment's, and a `make` that does not set up another."""
    folder = tmp_path / "tools"
    folder.mkdir()
    make = folder / "make"
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} --old-file .venv/ready "$@"\n')
    make.chmod(0o755)
    return folder


def supply(folder: Path, page: Path) -> None:
    """Put there what the page shows as files, a table of the user's and a run to compare with."""
    for fence in fences(page):
        if fence.file:
            path = folder / fence.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fence.text, encoding="utf-8")
    shutil.copy(folder / "results/data/housing.csv", folder / "usa_housing.csv")
    shutil.copytree(folder / "results", folder / "other/results")
    (folder / ".venv").symlink_to(sys.prefix)


def as_planned(command: str) -> str:
    """Return the command that says what a long one would do."""
    for name, option in (("snakemake", "--dry-run --quiet all"), ("make", "--dry-run")):
        if command.startswith(name):
            return command.replace(name, f"{name} {option}", 1)
    pytest.fail(f"a long command is one of snakemake or make, not: {command}")


def check_known(command: str, place: str) -> None:
    name, *words = command.split()
    known = name in EXECUTED and (name != "make" or {*words[:1]} <= MAKE_TARGETS)
    assert known, f"{place}: mark the fence of `{command}` as tests/documentation.py says"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_commands_of_a_page_work(page: Path, finished: Workflow, tools: Path) -> None:
    supply(finished.folder, page)
    path = os.pathsep.join([str(tools), str(Path(sys.prefix, "bin")), os.environ["PATH"]])
    for fence in executed_fences(page):
        for command in fence.commands:
            if "long" in fence.words:
                command = as_planned(command)
            else:
                check_known(command, fence.place)
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=finished.folder,
                env=finished.environment | {"PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
            )
            assert ran.returncode == 0, f"{fence.place}: {command}\n{ran.stdout}"
