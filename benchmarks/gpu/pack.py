"""Pack what a Linux machine without a network lacks into .kit/: wheels, and the script it runs.

    make gpu-pack        (ARGS='--python-version 3.11 --names mine.txt' for another machine)

Copy the checkout with .kit there; docs/offline.md goes on. Versions and hashes are those of
requirements.lock, so that the machine runs what the tests ran.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NAMES = Path(__file__).with_name("wheels.txt")
SCRIPT = Path(__file__).with_name("device.sh")
LOCK = ROOT / "requirements.lock"
WHEELS, APART = "wheels", "wheels-apart"
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 27, 24, 17, 12, 5)),
    *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)),
)
"""Of wheels that a machine with glibc 2.34 or newer can use."""

Kind = Literal["wheel", "source", "apart"]


@dataclass(frozen=True)
class Wanted:
    """A package of the list: published as a wheel or as source only, or a wheel laid apart."""

    name: str
    kind: Kind = "wheel"


def read_names(text: str) -> list[Wanted]:
    """Read a list of packages: a name a line, and what is said of it.

    Raises
    ------
    ValueError
        Naming the line that is none.
    """
    wanted = []
    for number, line in enumerate(text.splitlines(), 1):
        match line.partition("#")[0].split():
            case []:
                pass
            case [name]:
                wanted.append(Wanted(canonicalize_name(name)))
            case [name, "source" | "apart" as kind]:
                wanted.append(Wanted(canonicalize_name(name), kind))
            case _:
                raise ValueError(
                    f"line {number}: {line!r} is not a name, source or apart behind it"
                )
    return wanted


def pinned(lock: str, names: Sequence[str], *, python_version: str) -> dict[str, str]:
    """Return the lines of a lock file that pin packages, hashes included, by name.

    Parameters
    ----------
    lock
        Text of a lock for every platform: a package can stand there twice, with a marker each.
    names
        Canonical names, each once.
    python_version
        Of the machine, such as ``3.12``; it has Linux and an x86 processor.

    Raises
    ------
    ValueError
        When the lock does not have a package for such a machine.
    """
    machine = {
        "python_version": python_version,
        "python_full_version": f"{python_version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found = {}
    for block in re.findall(r"^[^\s#][^\\\n]*(?:\\\n[^\\\n]*)*", lock, re.MULTILINE):
        line, *hashes = block.split("\\\n")  # of a line that goes on
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            version = f"{requirement.name}{requirement.specifier}"
            found[canonicalize_name(requirement.name)] = " ".join(
                [version, *map(str.strip, hashes)]
            )
    if missing := sorted(set(names) - set(found)):
        raise ValueError(
            f"requirements.lock has no {', '.join(missing)} for Python {python_version}"
        )
    return {str(name): pin for name, pin in found.items() if name in names}


def fetch(pins: Iterable[str], folder: Path, *, command: Sequence[str]) -> None:
    """Fetch wheels of pinned packages, and nothing that they need, into a folder.

    Parameters
    ----------
    pins
        Lines of a requirements file.
    folder
        Made where it is not there.
    command
        Of pip, with its options but the requirements and the folder.

    Raises
    ------
    subprocess.CalledProcessError
        When pip fails; it has said why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(pins))
        requirements.flush()
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", *command, "--quiet", "--no-deps"),
                *("--require-hashes", "--requirement", requirements.name),
            ],
            cwd=folder,
            check=True,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack; return 1 when a package cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.pack",
        description="Pack wheels and scripts for a machine without a network.",
    )
    parser.add_argument("--names", type=Path, default=NAMES, help="the packages, a line each")
    parser.add_argument("--python-version", default="3.12", help="of the machine; default: 3.12")
    parser.add_argument("--output", type=Path, default=ROOT / ".kit", help="default: .kit")
    options = parser.parse_args(arguments)
    try:
        wanted = read_names(options.names.read_text(encoding="utf-8"))
        names = [package.name for package in wanted]
        pins = pinned(
            LOCK.read_text(encoding="utf-8"), names, python_version=options.python_version
        )
    except (OSError, ValueError) as error:
        print(f"{options.names}: {error}")
        return 1
    chosen = ["--only-binary", ":all:", "--implementation", "cp"]
    chosen += ["--python-version", options.python_version]
    chosen += [word for platform in PLATFORMS for word in ("--platform", platform)]
    options.output.mkdir(parents=True, exist_ok=True)
    for folder in (WHEELS, APART):  # not the whole folder: it may be anybody's
        shutil.rmtree(options.output / folder, ignore_errors=True)
    for kind, folder, command in (
        ("wheel", WHEELS, ["download", *chosen]),
        ("source", WHEELS, ["wheel"]),  # a few Python files: any machine builds the same
        ("apart", APART, ["download", *chosen]),
    ):
        if of_kind := [pins[package.name] for package in wanted if package.kind == kind]:
            try:
                fetch(of_kind, options.output / folder, command=command)
            except subprocess.CalledProcessError:
                return 1
    shutil.copy(SCRIPT, options.output)
    size = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file())
    print(f"{options.output}: {len(wanted)} packages, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
