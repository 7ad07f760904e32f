"""Build the operators' shared library, in a child process.

torch.utils.cpp_extension loads what it has built, and operators register only once per process:
building in a child leaves the caller free to load the result. The child also shows that it loads.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from torchmodes.results.writing import encodable
from torchmodes.workloads.operators.compile import LIBRARY_NAME

COMPILE_SCRIPT = Path(__file__).with_name("compile.py")
LINES_OF_OUTPUT = 40


class MissingCompiler(RuntimeError):
    """There is no C++ compiler that runs."""


class BuildFailed(RuntimeError):
    """The compiler or the linker reported errors."""


def build_operators(*, output: Path, build_directory: Path) -> None:
    """Compile the operators into one shared library, which appears whole or not at all.

    Ninja works in the build directory; objects left there from an earlier build are reused.

    Raises
    ------
    MissingCompiler
        Before anything is compiled.
    BuildFailed
        With the end of the compiler's output.
    """
    require_compiler()
    build_directory.mkdir(parents=True, exist_ok=True)
    # The interpreter's own programs first: ninja lies there when no environment is active.
    programs = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    child = subprocess.run(
        # -P: the folder of the script must not shadow installed modules.
        [sys.executable, "-P", str(COMPILE_SCRIPT), str(build_directory.resolve())],
        env=os.environ | {"PATH": programs},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if child.returncode != 0:
        shown = "\n".join(child.stdout.splitlines()[-LINES_OF_OUTPUT:])
        raise BuildFailed(
            f"building the custom operators in {build_directory} failed "
            f"(exit status {child.returncode}); the end of its output:\n{shown}"
        )
    logging.getLogger(__name__).info("%s", child.stdout.strip())
    output.parent.mkdir(parents=True, exist_ok=True)
    copied = shutil.copy(build_directory / f"{LIBRARY_NAME}.so", f"{output}.part")
    Path(copied).replace(output)


def build_or_tell(*, library: Path, report: Path) -> None:
    """Build the library, or leave an empty file in its place, and write how it went.

    A machine without a compiler still measures every other mode; those that need the operators are
    recorded as ``unsupported``. The report is JSON with ``status`` (``ok`` or ``unsupported``),
    ``reason``, ``remedy`` and ``seconds``.
    """
    start = time.perf_counter()
    told: dict[str, Any] = {"status": "ok", "reason": None, "remedy": None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            build_operators(output=library, build_directory=Path(folder))
    except MissingCompiler as error:
        library.touch()
        told = {
            "status": "unsupported",
            "reason": encodable(str(error)),
            "remedy": "install a C++ compiler and run snakemake again"
            f" (Apple's: delete {library} first)",
        }
    told["seconds"] = round(time.perf_counter() - start, 3)
    report.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def require_compiler() -> None:
    """Run the C++ compiler, ``$CXX`` or ``c++``: macOS has one that only asks for Xcode.

    Raises
    ------
    MissingCompiler
        When it is not there or does not run, with what to install.
    """
    command = os.environ.get("CXX", "c++")
    try:
        subprocess.run([*shlex.split(command), "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingCompiler(
            f"the custom operators need a C++ compiler, and {command!r} does not run ({error}). "
            "Install one (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; "
            "macOS: xcode-select --install; conda: conda install cxx-compiler), or name yours in "
            "the environment variable CXX, or take the modes with the pass custom-operators out "
            "of config.yaml"
        ) from error
