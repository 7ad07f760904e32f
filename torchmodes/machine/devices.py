"""The devices and cores that a process has here, found without importing PyTorch."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torchmodes.config.base import Device
from torchmodes.machine.cgroup import cgroup_limits


class NvmlUnavailable(Exception):
    """NVML cannot be asked; the message says why."""


def find_device() -> Device:
    """Return ``cuda`` where the driver shows a GPU, ``mps`` on Apple silicon, else ``cpu``.

    The workflow asks this at every start, so it costs milliseconds: NVML instead of PyTorch.
    """
    if cuda_device_count() > 0:
        return "cuda"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cpu"


def cuda_device_count() -> int:
    """Count the GPUs that a process started here could use, by NVML and CUDA_VISIBLE_DEVICES."""
    try:
        with opened_nvml() as nvml:
            count = nvml.nvmlDeviceGetCount()
    except NvmlUnavailable:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    # CUDA ignores the first invalid entry, such as -1, and all after it.
    named = itertools.takewhile(
        lambda name: name and not name.startswith("-"), map(str.strip, visible.split(","))
    )
    return min(count, len(list(named)))


@contextmanager
def opened_nvml() -> Generator[Any]:
    """Open NVML, NVIDIA's library of what its GPUs are and do, and yield its Python module.

    Raises
    ------
    NvmlUnavailable
        When the Python binding or the driver is missing, or may not be used.
    """
    try:
        import pynvml
    except ImportError:
        raise NvmlUnavailable("the package nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML does not start: {error}") from None
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def usable_cores() -> int:
    """Count the cores this process may run on: affinity and container limits, not the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = cgroup_limits().cpu_cores
    return cores if limit is None else max(1, min(cores, int(limit)))
