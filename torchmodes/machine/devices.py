"""Which device `auto` stands for, found without importing PyTorch."""

from __future__ import annotations

import itertools
import os
import platform

from torchmodes.config import Device
from torchmodes.machine.cgroup import cgroup_limits


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
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, _nvml_error()):
        return 0
    try:
        count = pynvml.nvmlDeviceGetCount()
    finally:
        pynvml.nvmlShutdown()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    # CUDA ignores the first invalid entry, such as -1, and all after it.
    named = itertools.takewhile(
        lambda name: name and not name.startswith("-"), map(str.strip, visible.split(","))
    )
    return min(count, len(list(named)))


def _nvml_error() -> type[Exception]:
    try:
        from pynvml import NVMLError
    except ImportError:
        return ImportError
    return NVMLError


def usable_cores() -> int:
    """Count the cores this process may run on: affinity and container limits, not the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = cgroup_limits().cpu_cores
    return cores if limit is None else max(1, min(cores, int(limit)))
