"""The memory allocator of a process: chosen before it starts, and checked once it runs.

glibc's own may give memory back after each call and fetch it again at the next (docs/gotchas.md).
"""

from __future__ import annotations

import os
import platform
from ctypes.util import find_library
from pathlib import Path

from torchmodes.config.run import Allocator

MAPS = Path("/proc/self/maps")
KEEPS_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Of glibc, mallopt(3): memory is kept once it was fetched."""
LIBRARIES = {"jemalloc": ("jemalloc",), "tcmalloc": ("tcmalloc", "tcmalloc_minimal")}
PACKAGES = {"jemalloc": "libjemalloc2", "tcmalloc": "libtcmalloc-minimal4"}


def allocator_missing(allocator: Allocator) -> dict[str, str] | None:
    """Say why there is no such allocator here and what to do, or return None."""
    refused = {
        "status": "unsupported",
        "reason": f"the allocator {allocator} is not available here",
    }
    if allocator == "glibc-tuned" and platform.libc_ver()[0] != "glibc":
        return refused | {"remedy": "use measurement.allocator: system; only glibc's can be tuned"}
    if allocator in LIBRARIES and _library(allocator) is None:
        package = PACKAGES[allocator]
        return refused | {"remedy": f"install it (Debian: apt-get install {package})"}
    return None


def allocator_environment(allocator: Allocator) -> dict[str, str]:
    """Return the variables with which a process starts to have an allocator that is here."""
    if allocator == "glibc-tuned":
        return KEEPS_MEMORY
    library = _library(allocator)
    if library is None:
        return {}
    others = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{library}:{others}" if others else library}


def allocator_not_loaded(allocator: Allocator) -> str | None:
    """Say that this process has another allocator than it was to have, or return None."""
    library = _library(allocator)
    if library is None or not MAPS.exists() or library in MAPS.read_text(errors="replace"):
        return None
    return f"the allocator {allocator} was not loaded: {library} is not among the process's files"


def _library(allocator: str) -> str | None:
    names = LIBRARIES.get(allocator, ())
    return next((found for name in names if (found := find_library(name))), None)
