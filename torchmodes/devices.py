"""Which device `auto` stands for, found without importing PyTorch."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from torchmodes.config import Device


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
    return (
        count if visible is None else min(count, len([v for v in visible.split(",") if v.strip()]))
    )


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
    quota = _cgroup_cores()
    return max(1, min(cores, quota)) if quota else cores


def _cgroup_cores() -> int | None:
    """Return the whole cores that a cgroup (version 2) allows, or None where none is set."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except OSError:
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))
