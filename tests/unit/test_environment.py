"""The record of machine, versions and settings, and what makes two of them comparable."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from torchmodes.machine import environment, machine
from torchmodes.machine.environment import (
    describe_environment,
    fingerprint,
    relevant_variables,
    torch_folder,
)
from torchmodes.machine.variables import recorded_names


@pytest.fixture
def described(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    return describe_environment()


# --- The whole -------------------------------------------------------------------------------


def test_the_description_is_json_and_names_every_part(described):
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert set(described) == {
        *("machine", "os", "python", "versions", "torch_build", "gpu", "variables", "git"),
        "fingerprint",
    }
    assert set(described["machine"]) == {
        *("host", "cpu", "architecture", "cores_usable", "cores_physical", "memory_bytes"),
        *("isa", "governor", "load_at_start", "container", "cgroup"),
    }
    assert described["machine"]["memory_bytes"] > 2**28
    assert 1 <= described["machine"]["cores_usable"] <= (os.cpu_count() or 1)


def test_versions_are_of_installed_packages_only(described):
    assert described["versions"]["torch"].startswith("2.")
    assert None not in described["versions"].values()


def test_it_is_quick_and_imports_no_torch():
    code = (
        "import sys, time; from torchmodes.machine.environment import describe_environment as d;"
        "start = time.perf_counter(); e = d(); took = time.perf_counter() - start;"
        "print(took, 'torch' in sys.modules, e['torch_build']['git_version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took, imported, revision = done.stdout.split()
    assert float(took) < 1.0  # 0.1 s on an idle machine; this one may be busy
    assert imported == "False"
    assert len(revision) == 40


# --- Fingerprint -----------------------------------------------------------------------------


def changed(described, *keys, value):
    other = copy.deepcopy(described)
    place = other
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return other


def test_fingerprint_is_sixteen_hexadecimal_digits_and_repeats(described):
    assert fingerprint(described) == fingerprint(json.loads(json.dumps(described)))
    assert described["fingerprint"] == fingerprint(described)
    assert int(fingerprint(described), 16) >= 0
    assert len(fingerprint(described)) == 16


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["machine", "cpu"], "another processor"),
        (["machine", "cores_usable"], 99),
        (["machine", "memory_bytes"], 2**50),
        (["machine", "governor"], "powersave"),
        (["machine", "isa"], ["amx_bf16"]),
        (["machine", "cgroup", "cpu_cores"], 1.5),
        (["os"], "Linux 0.0.1"),
        (["python"], "CPython 3.0.0"),
        (["versions", "torch"], "1.0"),
        (["torch_build", "git_version"], "0" * 40),
        (["variables", "OMP_NUM_THREADS"], "1"),
        (["gpu"], {"name": "A GPU", "uuid": "GPU-1", "count": 1, "power_limit_w": 300.0}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_fingerprint_tells_apart_what_changes_timings(described, keys, value):
    assert fingerprint(changed(described, *keys, value=value)) != fingerprint(described)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["machine", "host"], "another"),
        (["machine", "load_at_start"], 17.0),
        (["git"], {"revision": "0" * 40, "dirty": False}),
        (["variables", "TORCHINDUCTOR_CACHE_DIR"], "/somewhere"),
        (["variables", "CUDA_VISIBLE_DEVICES"], "3"),
        (["torch_build", "blas"], "mkl"),  # known only once PyTorch is imported
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_fingerprint_ignores_what_does_not(described, keys, value):
    assert fingerprint(changed(described, *keys, value=value)) == fingerprint(described)


def test_fingerprint_ignores_which_of_equal_gpus_it_was(described):
    gpus = [{"name": "A GPU", "uuid": uuid, "count": 1} for uuid in ("GPU-1", "GPU-2")]
    first, second = (changed(described, "gpu", value=gpu) for gpu in gpus)
    assert fingerprint(first) == fingerprint(second)


# --- Settings and git ------------------------------------------------------------------------


def test_variables_that_matter_are_recorded_and_nothing_else():
    environ = {
        "OMP_NUM_THREADS": "2",
        "TORCHINDUCTOR_FREEZING": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "CC": "clang",
        "CCACHE": "no",
        "TORCHMODES_CASE": "ours",
    }
    assert relevant_variables(environ) == {
        "CC": "clang",
        "OMP_NUM_THREADS": "2",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TORCHINDUCTOR_FREEZING": "1",
    }


SECRETS = (
    *("TORCHINDUCTOR_REDIS_URL", "CUDA_PASSPHRASE", "NVIDIA_PAT", "NVIDIA_API_KEY", "TORCH_X_AUTH"),
    *("TORCH_HUB_TOKEN", "TRITON_REDIS_HOST", "MKL_LICENSE", "OMP_PIN", "PYTORCH_PW", "CC_PASS"),
    *("HF_TOKEN", "LD_PRELOAD_SECRET", "AWS_SECRET_ACCESS_KEY", "TORCH_COMPILE_STICKY_PGO_KEY"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_in_no_description_whatever_library_its_name_begins_with(monkeypatch, name):
    monkeypatch.setenv(name, "redis://user:hush@host")
    assert "hush" not in json.dumps(describe_environment())


def test_no_recorded_name_speaks_of_a_secret():
    names = recorded_names(torch_folder())
    assert "TORCHINDUCTOR_SHAPE_PADDING" in names
    spoken = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|KEY|AUTH|URL|HOST|PAT$|LICEN|USER$")
    told = {"TORCHINDUCTOR_MAX_AUTOTUNE_PASS", *filter(spoken.search, names)}
    harmless = {
        *("TORCHINDUCTOR_MAX_AUTOTUNE_PASS", "TORCHINDUCTOR_DISABLED_PASSES"),
        *(name for name in names if "AUTOGRAD" in name or name.endswith("PATH")),
    }
    assert told - harmless == set()


def test_a_value_gives_away_neither_password_nor_home():
    environ = {
        "HOME": "/home/ada",
        "CC": "ccache https://ada:hu/sh@cache.example/x gcc",
        "LD_PRELOAD": "/home/ada/lib/libjemalloc.so:/home/adam/other.so",
        "CUDA_HOME": "/home/ada",
    }
    assert relevant_variables(environ) == {
        "CC": "ccache https://cache.example/x gcc",
        "CUDA_HOME": "~",
        "LD_PRELOAD": "~/lib/libjemalloc.so:/home/adam/other.so",
    }


def test_a_variable_of_bytes_that_are_no_text_can_be_recorded(monkeypatch):
    monkeypatch.setitem(os.environb, b"CC", b"/opt/\xff/gcc")
    told = describe_environment()
    assert told["variables"]["CC"] == "/opt/\\udcff/gcc"
    json.dumps(told, ensure_ascii=False).encode("utf-8")


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_git_state_of_a_clean_a_changed_and_no_repository(tmp_path):
    environment.git_state.cache_clear()
    assert environment.git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    environment.git_state.cache_clear()
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    assert environment.git_state(tmp_path) == {"revision": revision, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert environment.git_state(tmp_path)["dirty"] is False, "asked once per process"
    environment.git_state.cache_clear()
    assert environment.git_state(tmp_path) == {"revision": revision, "dirty": True}


def test_git_state_where_git_is_not_installed(tmp_path, monkeypatch):
    environment.git_state.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_state(tmp_path / "elsewhere") is None


# --- PyTorch's build -------------------------------------------------------------------------

TORCH_CONFIG = """PyTorch built with:
  - GCC 13.3
  - C++ Version: 202002
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64
  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa71049cd69a3df32adcccb623b12cd7baa22)
  - OpenMP 201511 (a.k.a. OpenMP 4.5)
  - CPU capability usage: AVX512
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, CUDNN_VERSION=9.24.0, USE_CUDA=1,
"""


def test_torch_config_is_reduced_to_its_libraries():
    assert environment.parse_torch_config(TORCH_CONFIG) == {
        "blas": "mkl",
        "mkl": "2024.2-Product",
        "onednn": "3.12.0",
        "openmp": "201511",
        "cudnn": "9.24.0",
        "cpu_capability": "AVX512",
        "compiler": "GCC 13.3",
    }
    assert set(environment.parse_torch_config("").values()) == {None}


def test_an_imported_torch_adds_its_libraries():
    import torch

    build = environment.torch_build()
    assert build["version"] == torch.__version__
    assert build["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


# --- The processor ---------------------------------------------------------------------------

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni amx_bf16 amx_tile

processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
"""
ARM = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
"""
LSCPU = """Architecture:                    aarch64
Vendor ID:                       ARM
Model name:                      Neoverse-V1
"""
SYSCTL = """machdep.cpu.brand_string: Apple M2 Pro
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.AdvSIMD: 1
"""


def test_processor_of_an_intel_machine():
    found = machine.parse_cpuinfo(X86)
    assert found.name == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert found.isa == ["avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "amx_bf16"]


def test_processor_of_an_arm_server_is_named_by_lscpu(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(ARM)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine, "_output_of", lambda *_: LSCPU)
    found = machine.describe_processor()
    assert found.name == "ARM Neoverse-V1"
    assert found.isa == ["asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve"]


def test_processor_of_a_mac(monkeypatch):
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    monkeypatch.setattr(machine, "_output_of", lambda *_: SYSCTL)
    assert machine.describe_processor() == machine.Processor(
        "Apple M2 Pro", ["asimd", "bf16", "i8mm"]
    )


def test_a_system_that_tells_nothing_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.describe_processor() == machine.Processor(None, [])
    assert machine.frequency_governor(tmp_path) is None


def test_governors_of_all_processors(tmp_path):
    for cpu, governor in (("cpu0", "performance"), ("cpu1", "powersave"), ("cpu2", "powersave")):
        file = tmp_path / cpu / "cpufreq" / "scaling_governor"
        file.parent.mkdir(parents=True)
        file.write_text(governor + "\n")
    assert machine.frequency_governor(tmp_path) == "performance, powersave"


# --- Containers ------------------------------------------------------------------------------


def test_kinds_of_container(tmp_path, monkeypatch):
    docker, podman = tmp_path / "docker", tmp_path / "podman"
    monkeypatch.setattr(machine, "DOCKER_MARK", docker)
    monkeypatch.setattr(machine, "PODMAN_MARK", podman)
    assert machine.container({}) == "none"
    assert machine.container({"APPTAINER_CONTAINER": "image.sif"}) == "apptainer"
    docker.touch()
    assert machine.container({}) == "docker"
    podman.touch()
    assert machine.container({}) == "podman"
    assert machine.container({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "kubernetes"


# --- The GPU ---------------------------------------------------------------------------------


class NvmlError(Exception):
    """Stands for pynvml.NVMLError."""


def refuse(*_):
    raise NvmlError("Not Supported")


def fake_nvml():
    """Answer as pynvml does, for two GPUs, of which the second tells no power limit."""
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=refuse,
        nvmlDeviceGetUUID=lambda gpu: ("GPU-aaaa", "GPU-bbbb")[gpu],
        nvmlDeviceGetName=lambda gpu: "NVIDIA H100 PCIe",
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(total=80 * 2**30),
        nvmlDeviceGetCudaComputeCapability=lambda gpu: (9, 0),
        nvmlSystemGetCudaDriverVersion_v2=lambda: 13010,
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: refuse() if gpu else 350_000,
        nvmlDeviceGetMaxClockInfo=lambda gpu, clock: {1: 1755, 2: 1593}[clock],
        nvmlDeviceGetEccMode=lambda gpu: [1, 1],
        nvmlDeviceGetMigMode=lambda gpu: [0, 0],
    )


@pytest.fixture
def nvml(monkeypatch):
    fake = fake_nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_gpu_is_described_in_si_units(nvml):
    assert machine.describe_gpu() == {
        "name": "NVIDIA H100 PCIe",
        "uuid": "GPU-aaaa",
        "count": 2,
        "driver": "580.1",
        "cuda_driver": "13.1",
        "compute_capability": "9.0",
        "memory_bytes": 80 * 2**30,
        "power_limit_w": 350.0,
        "max_sm_clock_mhz": 1755,
        "max_memory_clock_mhz": 1593,
        "ecc": True,
        "mig": False,
    }


@pytest.mark.parametrize("visible", ["1", "1,0", "GPU-bbbb", "GPU-b"])
def test_gpu_is_the_first_visible_one(nvml, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = machine.describe_gpu()
    assert gpu["uuid"] == "GPU-bbbb"
    assert gpu["power_limit_w"] is None, "this one does not tell"


@pytest.mark.parametrize("visible", ["", "-1", "7", "MIG-cccc"])
def test_no_gpu_is_described_where_none_is_visible(nvml, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.describe_gpu() is None


def test_no_gpu_without_a_driver(nvml, monkeypatch):
    monkeypatch.setattr(nvml, "nvmlInit", refuse)
    assert machine.describe_gpu() is None


def test_no_gpu_without_the_nvidia_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.describe_gpu() is None


def test_description_takes_no_time_once_git_is_known():
    describe_environment()
    start = time.perf_counter()
    describe_environment()
    assert time.perf_counter() - start < 0.3
