"""Stands in for the program ``conda``: it makes environments of the pip packages of a file.

Conda itself comes from no package index. This knows what ``snakemake --sdm conda`` asks for, so
that Snakemake's own code chooses, makes and enters the environments. Packages have the versions of
requirements.lock, which are those that the files pin, or its versions for this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
LOCK = HERE.parents[1] / "requirements.lock"


def main(arguments: list[str]) -> None:
    """Answer as conda does."""
    match arguments:
        case ["--version"]:
            print("conda 24.7.1")
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": os.environ["CONDA_STAND_IN"], "platform": "any"}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            parser = argparse.ArgumentParser()
            parser.add_argument("--file", type=Path, required=True)
            parser.add_argument("--prefix", type=Path, required=True)
            known, _ = parser.parse_known_args(options)
            create(known.prefix, known.file, host=os.environ.get("CONDA_STAND_IN_HOST"))
        case ["clean", *_]:
            pass  # nothing was kept
        case _:
            sys.exit(f"this stands in for conda and does not know: {' '.join(arguments)}")


def create(prefix: Path, file: Path, *, host: str | None) -> None:
    """Make an environment of nothing but the pip packages of a file, and what those need.

    Parameters
    ----------
    prefix
        Where it goes.
    file
        A conda environment file as those in ``envs/``.
    host
        Folder of the environment that Snakemake runs in: see ``alone.py``. None: it is this one.
    """
    packages = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"][-1]["pip"]
    names = [name + mark for name, _, mark in map(_split, packages)]
    uv = Path(sys.executable).with_name("uv")
    python = prefix / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, prefix], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--constraint", LOCK]
    subprocess.run([*install, *names], check=True)
    if host is not None:
        (site,) = prefix.glob("lib/python*/site-packages")
        (site / "alone.py").write_bytes((HERE / "alone.py").read_bytes())
        (site / "alone.pth").write_text(f"import alone; alone.hide({host!r})\n")


def _split(requirement: str) -> tuple[str, str, str]:
    pinned, semicolon, mark = requirement.partition(";")
    name, _, version = pinned.partition("==")
    return name, version, semicolon + mark


if __name__ == "__main__":
    main(sys.argv[1:])
