"""What `auto` stands for, and how many cores and GPUs a process may use."""

from __future__ import annotations

import os
import platform
import sys
from types import SimpleNamespace

import pytest

from torchmodes.machine import devices
from torchmodes.machine.cgroup import Limits, cgroup_limits
from torchmodes.machine.devices import cuda_device_count, find_device, usable_cores


class NvmlError(Exception):
    """Stands for pynvml.NVMLError."""


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that puts a number of GPUs into the machine; None: no driver."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(count):
        def init():
            if count is None:
                raise NvmlError("NVML Shared Library Not Found")

        nvml = SimpleNamespace(
            NVMLError=NvmlError,
            nvmlInit=init,
            nvmlShutdown=lambda: None,
            nvmlDeviceGetCount=lambda: count,
        )
        monkeypatch.setitem(sys.modules, "pynvml", nvml)

    return put


def system(monkeypatch, name, machine):
    monkeypatch.setattr(platform, "system", lambda: name)
    monkeypatch.setattr(platform, "machine", lambda: machine)


# --- Devices ---------------------------------------------------------------------------------


def test_auto_is_cuda_where_there_is_a_gpu(gpus, monkeypatch):
    system(monkeypatch, "Linux", "x86_64")
    gpus(1)
    assert find_device() == "cuda"


@pytest.mark.parametrize(
    ("name", "machine", "device"),
    [
        ("Linux", "x86_64", "cpu"),
        ("Linux", "aarch64", "cpu"),
        ("Darwin", "x86_64", "cpu"),
        ("Darwin", "arm64", "mps"),
    ],
)
def test_auto_without_a_gpu_of_nvidia(gpus, monkeypatch, name, machine, device):
    system(monkeypatch, name, machine)
    gpus(None)
    assert find_device() == device


def test_no_gpu_without_the_nvidia_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert cuda_device_count() == 0


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 4),
        ("0", 1),
        ("2,3", 2),
        ("GPU-aaaa,GPU-bbbb", 2),
        ("", 0),
        ("-1", 0),
        ("1,-1,2", 1),
        ("0,1,2,3,4,5", 4),
    ],
)
def test_gpus_that_are_visible_are_counted(gpus, monkeypatch, visible, count):
    gpus(4)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cuda_device_count() == count


# --- Cores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "cores"), [(None, 8), (16.0, 8), (3.0, 3), (2.5, 2), (0.5, 1)])
def test_usable_cores_are_those_of_the_affinity_and_the_container(monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(devices, "cgroup_limits", lambda: Limits(limit, None))
    assert usable_cores() == cores


def test_usable_cores_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    monkeypatch.setattr(devices, "cgroup_limits", lambda: Limits(None, None))
    assert usable_cores() == 10


# --- Control groups --------------------------------------------------------------------------


def limits_from(folder, membership, files):
    """Read the limits below a folder that stands for /sys/fs/cgroup."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (folder / "membership").write_text(membership)
    return cgroup_limits(folder / "membership", folder)


def test_cgroup_2_takes_the_tightest_limit_of_all_levels(tmp_path):
    files = {
        "cpu.max": "max 100000",
        "slurm/memory.max": str(2**32),
        "slurm/job_7/cpu.max": "150000 100000",
        "slurm/job_7/step_0/memory.max": "max",
    }
    limits = limits_from(tmp_path, "0::/slurm/job_7/step_0\n", files)
    assert limits == Limits(cpu_cores=1.5, memory_bytes=2**32)


def test_cgroup_2_inside_a_container_whose_path_is_the_hosts(tmp_path):
    files = {"cpu.max": "200000 100000", "memory.max": str(2**30)}
    limits = limits_from(tmp_path, "0::/system.slice/docker-0123.scope\n", files)
    assert limits == Limits(cpu_cores=2.0, memory_bytes=2**30)


def test_cgroup_1(tmp_path):
    files = {
        "cpu/docker/7/cpu.cfs_quota_us": "50000",
        "cpu/docker/7/cpu.cfs_period_us": "100000",
        "memory/docker/7/memory.limit_in_bytes": str(2**31),
        "memory/memory.limit_in_bytes": "9223372036854771712",  # no limit
    }
    limits = limits_from(tmp_path, "5:memory:/docker/7\n2:cpu,cpuacct:/docker/7\n", files)
    assert limits == Limits(cpu_cores=0.5, memory_bytes=2**31)


def test_cgroup_1_without_any_limit(tmp_path):
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    limits = limits_from(tmp_path, "2:cpu,cpuacct:/\n", files)
    assert limits == Limits(cpu_cores=None, memory_bytes=None)


def test_no_control_groups(tmp_path):
    assert cgroup_limits(tmp_path / "none", tmp_path) == Limits(None, None)
