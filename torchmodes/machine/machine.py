"""The machine a result was measured on: processor, memory, limits, container, GPU.

Every reader takes the text or the folder that it reads, so that tests can give it another system's.
What a system does not report is None; nothing here raises for that. It imports no PyTorch.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from torchmodes.machine.cgroup import cgroup_limits, text_of
from torchmodes.machine.devices import NvmlUnavailable, opened_nvml, usable_cores

CPUINFO = Path("/proc/cpuinfo")
CPU_DEVICES = Path("/sys/devices/system/cpu")
DOCKER_MARK = Path("/.dockerenv")
PODMAN_MARK = Path("/run/.containerenv")

ISA = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2", "sme"),
)
"""Instruction sets that decide which kernels PyTorch picks, as Linux names them (x86, then ARM)."""

MACOS_ISA = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.fma": "fma",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_SME": "sme",
}


@dataclass(frozen=True)
class Processor:
    """The name of a processor and which of `ISA` it has."""

    name: str | None
    isa: list[str]


def describe_machine() -> dict[str, Any]:
    """Describe the machine, as far as it bears on a timing; sizes are in bytes."""
    processor = describe_processor()
    return {
        "host": host_name(platform.node(), container(os.environ)),
        "cpu": processor.name,
        "architecture": platform.machine() or None,
        "cores_usable": usable_cores(),
        "cores_physical": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "isa": processor.isa,
        "governor": frequency_governor(),
        "load_at_start": os.getloadavg()[0],
        "container": container(os.environ),
        "cgroup": asdict(cgroup_limits()),
    }


# --- The processor ---------------------------------------------------------------------------


def describe_processor() -> Processor:
    """Ask the kernel what processor this is."""
    if sys.platform == "darwin":
        keys = ("machdep.cpu.brand_string", "hw.optional")
        return parse_sysctl(_output_of("sysctl", *keys))
    found = parse_cpuinfo(text_of(CPUINFO))
    if found.name is None:  # ARM: only lscpu knows the names behind the part numbers
        found = Processor(parse_lscpu(_output_of("lscpu")), found.isa)
    return found


def parse_cpuinfo(text: str) -> Processor:
    """Read Linux' ``/proc/cpuinfo``, of x86 (``flags``) or ARM (``Features``)."""
    fields = _fields(text)
    flags = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    return Processor(fields.get("model name"), [name for name in ISA if name in flags])


def parse_lscpu(text: str) -> str | None:
    """Read vendor and model from what ``lscpu`` prints, such as ``ARM Neoverse-V1``."""
    fields = _fields(text)
    names = [fields[key] for key in ("Vendor ID", "Model name") if fields.get(key, "-") != "-"]
    return " ".join(names) or None


def parse_sysctl(text: str) -> Processor:
    """Read macOS' ``sysctl machdep.cpu.brand_string hw.optional``."""
    fields = _fields(text)
    there = {name for key, name in MACOS_ISA.items() if fields.get(key) == "1"}
    return Processor(
        fields.get("machdep.cpu.brand_string"), [name for name in ISA if name in there]
    )


def frequency_governor(devices: Path = CPU_DEVICES) -> str | None:
    """Return the frequency governors of the processors, such as ``powersave``; usually one."""
    files = devices.glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({text_of(file).strip() for file in files} - {""})) or None


# --- Containers ------------------------------------------------------------------------------


def container(variables: Mapping[str, str]) -> str:
    """Return what kind of container this process is in: ``kubernetes``, ``docker``, … or ``none``.

    Kubernetes comes first: its containers are Docker's or another engine's underneath.
    """
    marks = {
        "kubernetes": "KUBERNETES_SERVICE_HOST" in variables,
        "podman": PODMAN_MARK.exists(),
        "docker": DOCKER_MARK.exists(),
        "apptainer": bool({"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"} & variables.keys()),
    }
    return next((name for name, there in marks.items() if there), "none")


def host_name(name: str, container: str) -> str | None:
    """Return what the machine is called; None for a name that a container got at its start.

    A pod is named by Kubernetes. Docker and Podman take the beginning of the container's identifier
    where nobody gives a name.
    """
    by_chance = container == "kubernetes" or (
        container in ("docker", "podman") and re.fullmatch(r"[0-9a-f]{12}", name)
    )
    return None if by_chance else name or None


# --- The GPU ---------------------------------------------------------------------------------


def describe_gpu() -> dict[str, Any] | None:
    """Describe the GPU that a CUDA process started here uses, by NVML; None where there is none.

    What a GPU does not tell (a MIG slice has no power limit) is None. Sizes are in bytes, clocks
    in MHz and the highest the GPU allows, power in watts.
    """
    try:
        with opened_nvml() as nvml:
            handle = _visible_gpu(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
            return None if handle is None else _gpu_properties(nvml, handle)
    except NvmlUnavailable:
        return None


def _visible_gpu(nvml: Any, visible: str | None) -> Any:
    """Return the handle of CUDA device 0, or None.

    CUDA_VISIBLE_DEVICES names it by index or by (the beginning of) its UUID. CUDA may number mixed
    GPUs by speed, NVML by bus: where PyTorch has CUDA running already, it knows better.
    """
    first = "0" if visible is None else visible.split(",")[0].strip()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        first = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if first == str(index) or (first and nvml.nvmlDeviceGetUUID(handle).startswith(first)):
            return handle
    if first.startswith("MIG-"):
        return _told(nvml, nvml.nvmlDeviceGetHandleByUUID, first)
    return None


def _gpu_properties(nvml: Any, handle: Any) -> dict[str, Any]:
    told = partial(_told, nvml)
    memory = told(nvml.nvmlDeviceGetMemoryInfo, handle)
    capability = told(nvml.nvmlDeviceGetCudaComputeCapability, handle)
    cuda = told(nvml.nvmlSystemGetCudaDriverVersion_v2)
    milliwatts = told(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    ecc = told(nvml.nvmlDeviceGetEccMode, handle)
    mig = told(nvml.nvmlDeviceGetMigMode, handle)
    return {
        "name": told(nvml.nvmlDeviceGetName, handle),
        "uuid": told(nvml.nvmlDeviceGetUUID, handle),
        "count": told(nvml.nvmlDeviceGetCount),
        "driver": told(nvml.nvmlSystemGetDriverVersion),
        "cuda_driver": cuda and f"{cuda // 1000}.{cuda % 1000 // 10}",
        "compute_capability": capability and f"{capability[0]}.{capability[1]}",
        "memory_bytes": memory and memory.total,
        "power_limit_w": milliwatts and milliwatts / 1000,
        "max_sm_clock_mhz": told(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        "max_memory_clock_mhz": told(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "ecc": ecc and bool(ecc[0]),
        "mig": mig and bool(mig[0]),
    }


def _told(nvml: Any, query: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return query(*arguments)
    except nvml.NVMLError:  # this GPU or driver does not tell
        return None


# --- Reading ---------------------------------------------------------------------------------


def _fields(text: str) -> dict[str, str]:
    """Read lines of ``key : value``; of several with one key the last counts."""
    return dict(re.findall(r"^[ \t]*(.+?)[ \t]*:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))


def _output_of(*command: str) -> str:
    """Return what a program prints, even if it fails at one of several questions."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=5, check=False
        )
        return done.stdout
    return ""
