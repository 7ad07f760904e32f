"""Dry runs of Snakemake, each in a fork of one program that has imported it.

Most of a dry run's time is that import, and the suite makes nearly a hundred of them. Runs that
start jobs are started as a user starts them.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the program; it ends with this process, for then its standard input does."""
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def dry_run(
    *arguments: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Return how Snakemake ends with these arguments in a folder, and what it prints."""
    server, printed = _server(), folder.with_name("dry-run.log")
    assert server.stdin is not None
    assert server.stdout is not None
    asked = {"folder": str(folder), "environment": environment, "printed": str(printed)}
    print(json.dumps({"arguments": arguments, **asked}), file=server.stdin, flush=True)
    code = int(server.stdout.readline())
    return subprocess.CompletedProcess(arguments, code, printed.read_text(encoding="utf-8"))


def serve() -> None:
    """Answer a line of JSON, a dry run, with a line, the exit code, until there are no more."""
    from snakemake.cli import get_argument_parser, main  # the client needs none of it

    get_argument_parser()  # imports what remains: the plugins
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            sys.exit(_become(main, **json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(
    main: Any, *, arguments: list[str], folder: str, environment: dict[str, str], printed: str
) -> None:
    """Be `python -m snakemake` in a folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv, sys.path[0] = ["snakemake", *arguments], folder
    log = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    main()


if __name__ == "__main__":
    serve()
