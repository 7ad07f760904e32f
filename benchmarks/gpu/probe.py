"""What of a GPU machine the measurements rest on: some questions, each answered or with a reason.

    python -m benchmarks.gpu.probe [probe.json]

A minute. Run it before anything is measured on a new kind of machine: it shows what an empty sample
costs, whether fp32 is fp32, how fast NVML's energy counter moves, and what a fork leaves of NVML.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from torchmodes.machine.machine import describe_gpu
from torchmodes.measure import gpu
from torchmodes.measure.clock import empty_sample_s, make_clock
from torchmodes.measure.numerics import compare
from torchmodes.workloads.models import build_model
from torchmodes.workloads.modes.precision import allow_tf32, in_precision

RESNET50 = {"family": "torchvision", "name": "resnet50", "weights": "random", "image_size": 224}
VARIABLES = ("CUDA", "NVIDIA", "TORCH", "TRITON", "LD_", "OMP")
FORKED_NVML = """
import os, pynvml

pynvml.nvmlInit()
for shut_down in (False, True):
    if shut_down:
        pynvml.nvmlShutdown()
    if not os.fork():
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            told = f"{pynvml.nvmlDeviceGetPowerUsage(handle) / 1000} W"
        except pynvml.NVMLError as error:
            told = f"fails: {error}"
        print("shut down before:" if shut_down else "left open before:", told, flush=True)
        os._exit(0)
    os.wait()
"""


def toolchain() -> dict[str, Any]:
    """Find what compiles, and what the environment says to PyTorch."""
    return {
        "compilers": _shell(
            "command -v nvcc gcc g++; nvcc --version | grep release; gcc --version"
        ),
        "headers of Python": Path(sysconfig.get_path("include"), "Python.h").is_file(),
        "driver": _shell("ldconfig -p | grep -E 'libcuda.so|libnvidia-ml.so'"),
        "processor": _shell("lscpu | grep -E 'Model name|^CPU\\(s\\)|Hypervisor'"),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(VARIABLES)},
    }


def nvml_after_a_fork() -> list[str]:
    """See what a child of a process that has initialised NVML can ask, and after a shutdown."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED_NVML], capture_output=True, text=True, timeout=30, check=False
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]]


def context() -> dict[str, Any]:
    """Initialise CUDA, and say what PyTorch has found."""
    began = time.perf_counter()
    torch.ones(1, device="cuda")
    made_s = time.perf_counter() - began
    found = torch.cuda.get_device_properties(0)
    return {
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "context_s": made_s,
        "name": found.name,
        "multiprocessors": found.multi_processor_count,
        "L2_bytes": found.L2_cache_size,
    }


def state() -> dict[str, Any]:
    """Ask NVML as a case does, and how long that takes."""
    began = time.perf_counter()
    told = gpu.gpu_state(0).model_dump()
    return {"seconds": time.perf_counter() - began, "state": told, "described": describe_gpu()}


def overheads_us() -> dict[str, float]:
    """Measure what lies around a call, in microseconds: medians."""
    clock, flushing = make_clock("cuda"), make_clock("cuda", flush_l2=True)
    x = torch.ones(1024, device="cuda")
    event, synchronize = torch.cuda.Event(enable_timing=True), torch.cuda.synchronize

    def call() -> None:
        x.add_(1.0)

    def waited() -> None:
        call()
        synchronize()

    def between_events() -> None:
        event.record()
        call()
        event.record()
        synchronize()

    for _ in range(500):
        between_events()
    found = {
        "synchronize, idle": _median_us(synchronize),
        "Event.record": _median_us(event.record),
        "empty sample": empty_sample_s(clock) * 1e6,
        "empty sample, L2 flushed": empty_sample_s(flushing) * 1e6,
        "one kernel, not waited for": _median_us(call),
        "one kernel, waited for": _median_us(waited),
        "the same between events": _median_us(between_events),
        "by the clock": statistics.median(clock.time(call, 1).host_s for _ in range(200)) * 1e6,
    }
    synchronize()
    return found


def tf32_errors() -> dict[str, str]:
    """Multiply and convolve positive numbers, with TF32 forbidden and allowed, against fp64.

    A mean relative error of 1e-7 or less is fp32's; TF32's is near 0 where it rounds to nearest,
    and -7e-4 where it cuts off.
    """
    draw = torch.Generator(device="cuda").manual_seed(0)
    a, b = (torch.rand(1024, 1024, device="cuda", generator=draw) for _ in range(2))
    x = torch.rand(8, 256, 28, 28, device="cuda", generator=draw)
    weight = torch.rand(256, 256, 3, 3, device="cuda", generator=draw)
    pairs = {
        "matmul": (lambda: a @ b, a.double() @ b.double()),
        "convolution": (lambda: F.conv2d(x, weight), F.conv2d(x.double(), weight.double())),
    }
    allow_tf32(allowed=False)
    found = {}
    for precision in ("fp32", "tf32"):
        for name, (compute, exact) in pairs.items():
            with in_precision(precision):
                error = (compute().double() - exact) / exact
            found[f"{name} in {precision}"] = (
                f"mean {error.mean().item():.1e}, greatest {error.abs().max().item():.1e}"
            )
    return found


def energy_counter() -> dict[str, float]:
    """See how often NVML's energy counter moves while the GPU is busy, and what it says."""
    a = torch.randn(4096, 4096, device="cuda")
    with gpu.nvml_device(0) as (nvml, handle):
        values, began = [nvml.nvmlDeviceGetTotalEnergyConsumption(handle)], time.perf_counter()
        while time.perf_counter() - began < 1.5:
            torch.mm(a, a)
            torch.cuda.synchronize()
            values.append(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        seconds = time.perf_counter() - began
        return {
            "steps_per_s": (len(set(values)) - 1) / seconds,
            "watts": (values[-1] - values[0]) / 1000 / seconds,
            "watts_by_power": nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        }


def resnet50_errors() -> dict[str, float | None]:
    """Compare ResNet50 with itself in other precisions: the relative L2 error that cases gate."""
    allow_tf32(allowed=False)
    built = build_model(RESNET50, seed=42, batch_size=1, device="cuda")
    x = built.inputs.args[0]
    found = {}
    with torch.inference_mode():
        reference = built.module(x).cpu()
        for precision in ("fp32", "tf32"):
            with in_precision(precision):
                output = built.module(x).cpu()
            found[precision] = compare(reference, output, precision=precision).relative_l2
        half = built.module.half()(x.half()).cpu()
    return found | {"fp16": compare(reference, half, precision="fp16").relative_l2}


QUESTIONS: Mapping[str, Callable[[], Any]] = {
    "NVML in a child of a process that has initialised it": nvml_after_a_fork,
    "what compiles": toolchain,
    "a context": context,
    "the GPU's state, by NVML": state,
    "what lies around a call, µs": overheads_us,
    "errors of tf32": tf32_errors,
    "the energy counter": energy_counter,
    "errors of ResNet50, relative L2": resnet50_errors,
}
"""In an order in which the first ones find CUDA not yet initialised."""


def ask(questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Answer and print questions; one that fails is answered by its fault."""
    found = {}
    for name, question in questions.items():
        began = time.perf_counter()
        try:
            found[name] = question()
        except Exception as error:  # noqa: BLE001 - what fails here is what one wants to know
            found[name] = f"fails: {type(error).__name__}: {str(error)[:300]}"
        told = json.dumps(found[name], default=str)[:1500]
        print(f"[{time.perf_counter() - began:5.1f} s] {name}: {told}", flush=True)
    return found


def _median_us(call: Callable[[], object], calls: int = 2000) -> float:
    taken = []
    for _ in range(calls):
        began = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1000


def _shell(command: str) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False
    )
    return (done.stdout + done.stderr).strip().splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask everything, and write the answers where a file is named."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.probe", description="Ask a GPU machine some questions."
    )
    parser.add_argument("output", type=Path, nargs="?", help="a JSON file for the answers")
    options = parser.parse_args(arguments)
    found = ask(QUESTIONS)
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
