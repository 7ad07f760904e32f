"""Every command of the pages is executed, or planned, or marked as needing what is not here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from documentation import NOT_EXECUTED, fences, pages
from workflow.conftest import Workflow

pytestmark = pytest.mark.workflow
EXECUTED = ("cp ", "find results/", "make compare ", "python -m ", "snakemake --cores 4 ")
"""How commands begin that a page may have executed: nothing that changes the machine."""
SNAKEMAKE = re.compile(r"snakemake --cores 4((?: (?!-)\S+)*)((?: -.*)?)")
"""Files asked for, then options: the form that works, since an option takes all words behind it."""


def commands(page: Path, *, long: bool) -> list[tuple[str, str]]:
    """Return the commands of a page with their places, those that are executed or the long ones."""
    return [
        (command, fence.place)
        for fence in fences(page)
        if not NOT_EXECUTED.intersection(fence.words) and ("long" in fence.words) == long
        for command in fence.commands
    ]


def plans() -> Iterator[tuple[Path | None, str]]:
    """Yield the dry runs that cover every long command of Snakemake: one for the same options.

    A page that shows a configuration of its own has its own.
    """
    executed = {command for page in pages() for command, _ in commands(page, long=False)}
    wanted: dict[tuple[Path | None, str], set[str]] = defaultdict(set)
    for page in pages():
        brings_files = any(fence.file for fence in fences(page))
        for command, place in commands(page, long=True):
            if not command.startswith("make") and command not in executed:
                match = SNAKEMAKE.fullmatch(command)
                assert match, f"{place}: write snakemake --cores 4 [files] [options]: {command}"
                files = match[1].split() or ["all"]
                wanted[page if brings_files else None, match[2]].update(files)
    for (page, options), files in wanted.items():
        yield page, f"{' '.join(sorted(files))} {options} --dry-run --quiet all"


def supply(folder: Path, page: Path | None) -> None:
    """Put there what a page shows as files, a table of the user's and a run to compare with."""
    for fence in fences(page) if page else ():
        if fence.file:
            path = folder / fence.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fence.text, encoding="utf-8")
    header, *rows = (folder / "results/data/housing.csv").read_text().splitlines(keepends=True)
    (folder / "usa_housing.csv").write_text(header + 2 * "".join(rows))  # enough for a batch
    shutil.copytree(folder / "results", folder / "other/results")
    (folder / ".venv").symlink_to(sys.prefix)


def run(command: str, workflow: Workflow) -> str:
    """Run a command as one would type it, in this environment, and return what it said."""
    # make must not set up another environment where this one is older than the lock.
    script = f'make() {{ command make --old-file .venv/ready "$@"; }}\n{command}'
    path = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ["PATH"]])
    # Nor see what the make was given that may run these tests.
    typed = {k: v for k, v in workflow.environment.items() if not k.startswith(("MAKE", "ARGS"))}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=workflow.folder,
        env=typed | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}"
    return ran.stdout


@pytest.mark.parametrize("page", [p for p in pages() if commands(p, long=False)], ids=str)
def test_the_commands_of_a_page_work(page: Path, finished: Workflow) -> None:
    supply(finished.folder, page)
    for command, place in commands(page, long=False):
        assert command.startswith(EXECUTED), (
            f"{place}: mark the fence of `{command}` as tests/documentation.py says"
        )
        run(command, finished)


@pytest.mark.parametrize(("page", "words"), [*plans()])
def test_long_commands_of_snakemake_can_be_planned(
    page: Path | None, words: str, finished: Workflow
) -> None:
    supply(finished.folder, page)
    ran = finished.run(*shlex.split(words))
    assert ran.returncode == 0, f"{words}\n{ran.stdout}"


def test_long_commands_of_make_can_be_planned(finished: Workflow) -> None:
    supply(finished.folder, None)
    long = {command for page in pages() for command, _ in commands(page, long=True)}
    for command in sorted(command for command in long if command.startswith("make")):
        run(f"{command} --dry-run", finished)
