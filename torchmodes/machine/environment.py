"""The environment of a result: machine, versions, settings; and one fingerprint of them.

Timings are comparable where the fingerprints are equal. It imports no PyTorch and takes a few tens
of milliseconds, so every measuring process can afford it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torchmodes.config.models import FAMILIES
from torchmodes.config.modes import ENGINES
from torchmodes.machine.machine import describe_gpu, describe_machine
from torchmodes.machine.variables import recorded_names
from torchmodes.planning.provenance import installed
from torchmodes.results.writing import encodable

PACKAGES = (
    *("torchmodes", "torch", "triton", "numpy", "scipy", "snakemake"),
    *(name for section in FAMILIES.values() for name in section.packages),
    *(name for section in ENGINES.values() for name in section.packages),
)
_CREDENTIALS = re.compile(r"(?<=://)\S*@")
_PLACE = re.compile(r"_(DIR|HOME|PATH|ROOT|VISIBLE_DEVICES)$")


def describe_environment() -> dict[str, Any]:
    """Describe what this process measures with, as JSON values; what is not told is null.

    Returns
    -------
    dict
        ``machine`` (sizes in bytes, load as the 1-minute mean of runnable processes), ``os``,
        ``python``, ``versions`` of the installed packages, ``torch_build``, ``gpu``, ``variables``,
        ``git`` of the working folder, and the `fingerprint` of it all.
    """
    described = {
        "machine": describe_machine(),
        "os": _operating_system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: one for name, one in installed(*PACKAGES).items() if one is not None},
        "torch_build": torch_build(),
        "gpu": describe_gpu(),
        "variables": relevant_variables(os.environ),
        "git": git_state(Path.cwd()),
    }
    described = encodable(described)
    return described | {"fingerprint": fingerprint(described)}


def fingerprint(environment: Mapping[str, Any]) -> str:
    """Digest what makes timings comparable into 16 hexadecimal digits.

    In it: processor, architecture, instruction sets, usable and physical cores, memory (in GiB),
    governor, kind of container and its limits; kernel and distribution; Python; versions; the
    build of PyTorch; the GPU's name, driver, memory, clocks, power limit and modes; the variables.

    Not in it: host name and GPU UUID (equal machines are comparable), which GPU is visible, load,
    git (the digest of the code is a parameter of each job), variables that say where files lie,
    and the libraries of `torch_build`, which are known only once PyTorch is imported and follow
    from its git revision.
    """
    machine, gpu = dict(environment["machine"]), environment["gpu"]
    for passing in ("host", "load_at_start"):
        machine.pop(passing)
    # A virtual machine's memory varies by some pages from boot to boot.
    machine["memory_bytes"] = round(machine["memory_bytes"] / 2**30)
    comparable = {
        "machine": machine,
        "os": environment["os"],
        "python": environment["python"],
        "versions": environment["versions"],
        "torch": (environment["torch_build"] or {}).get("git_version"),
        "gpu": gpu and {key: value for key, value in gpu.items() if key not in ("uuid", "count")},
        "variables": {
            name: value
            for name, value in environment["variables"].items()
            if not _PLACE.search(name)
        },
    }
    canonical = json.dumps(comparable, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def torch_folder() -> Path | None:
    """Return where PyTorch is installed, without importing it; None where there is none."""
    spec = importlib.util.find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def torch_build() -> dict[str, Any] | None:
    """Tell how the installed PyTorch was built; None where there is none.

    Version, git revision, CUDA and debug come from its ``version.py``, without importing it. Where
    the process has imported it, its numerical libraries and the instruction set in use join them.
    """
    folder = torch_folder()
    if folder is None:
        return None
    built = runpy.run_path(str(folder / "version.py"))
    facts = {key: built.get(key) for key in ("git_version", "cuda", "hip", "debug")}
    facts = {"version": built.get("__version__"), **facts}
    torch = sys.modules.get("torch")
    return facts | parse_torch_config(torch.__config__.show()) if torch else facts


def parse_torch_config(text: str) -> dict[str, str | None]:
    """Read the numerical libraries from what ``torch.__config__.show()`` prints."""
    patterns = {
        "blas": r"BLAS_INFO=(\w+)",
        "mkl": r"Math Kernel Library Version (\S+)",
        "onednn": r"MKL-DNN v(\S+)",
        "openmp": r"OpenMP (\d+)",
        "cudnn": r"CUDNN_VERSION=([\d.]+)",
        "cpu_capability": r"CPU capability usage: (.+)",
        "compiler": r"^  - ((?:GCC|clang|Clang|MSVC) .+)$",
    }
    found = {key: re.search(pattern, text, re.MULTILINE) for key, pattern in patterns.items()}
    return {key: match and match[1].strip() for key, match in found.items()}


def relevant_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Select the variables that bear on a timing, sorted by their names.

    Of their values, what a URL holds before its host (name and password) is left out, and the
    user's home folder is ``~``.
    """
    home = environ.get("HOME", "")
    names = recorded_names(torch_folder()).intersection(environ)
    return {name: _told(environ[name], home) for name in sorted(names)}


def _told(value: str, home: str) -> str:
    value = _CREDENTIALS.sub("", value)
    if home.strip("/"):
        value = re.sub(rf"(?<![^:=,\s]){re.escape(home.rstrip('/'))}(?![^/:,\s])", "~", value)
    return value


@cache
def git_state(folder: Path) -> dict[str, Any] | None:
    """Return revision and dirtiness (changed tracked files) of a folder's repository, or None."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # only look: others may be at work
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or not ours
        return None
    lines = done.stdout.splitlines()
    oid = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
    return {
        "revision": None if oid == "(initial)" else oid,
        "dirty": any(not line.startswith("#") for line in lines),
    }


def _operating_system() -> str:
    """Name the kernel, and the distribution (Linux) or the version of macOS."""
    kernel = f"{platform.system()} {platform.release()}"
    if platform.system() == "Darwin":
        return f"{kernel}, macOS {platform.mac_ver()[0]}"
    with contextlib.suppress(OSError, KeyError):
        return f"{kernel}, {platform.freedesktop_os_release()['PRETTY_NAME']}"
    return kernel
