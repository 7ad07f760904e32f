"""Settings and functions of the process that a mode must not change: the baseline uses them too."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module

Function = Callable[..., Any]


def _precision_of_fp32(backend: str, operators: str) -> str:
    """Read what `set_float32_matmul_precision` and `allow_tf32` set; to read those may raise."""
    told = torch._C._get_fp32_precision_getter(backend, operators)
    return "ieee" if told == "none" else told


SETTINGS: Mapping[str, Callable[[], object]] = {
    "threads": torch.get_num_threads,
    "threads between operators": torch.get_num_interop_threads,
    "default dtype": torch.get_default_dtype,
    "default device": torch.get_default_device,
    "gradients": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "anomaly detection": torch.is_anomaly_enabled,
    "autocast on the CPU": lambda: torch.is_autocast_enabled("cpu"),
    "autocast on CUDA": lambda: torch.is_autocast_enabled("cuda"),
    **{
        f"precision of fp32 in {backend}, {what}": partial(_precision_of_fp32, backend, what)
        for backend, what in (
            ("generic", "all"),
            *itertools.product(("cuda", "mkldnn"), ("matmul", "conv", "rnn")),
        )
    },
    "flushing of denormal numbers": lambda: float(torch.tensor(1e-40) * 1) == 0,
    "cores": lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "deterministic cuDNN": lambda: torch.backends.cudnn.deterministic,
    "benchmarking of cuDNN": lambda: torch.backends.cudnn.benchmark,
    "cuDNN": lambda: torch.backends.cudnn.enabled,
    "oneDNN": lambda: torch.backends.mkldnn.enabled,
    "opt_einsum": lambda: torch.backends.opt_einsum.enabled,
    "fused attention (flash)": torch.backends.cuda.flash_sdp_enabled,
    "fused attention (memory-efficient)": torch.backends.cuda.mem_efficient_sdp_enabled,
    "fused attention (plain)": torch.backends.cuda.math_sdp_enabled,
    "fused attention (cuDNN)": torch.backends.cuda.cudnn_sdp_enabled,
    "fast path of nn.MultiheadAttention": torch.backends.mha.get_fastpath_enabled,
    "active function modes": torch._C._len_torch_function_stack,
    "active dispatch modes": torch._C._len_torch_dispatch_stack,
} | {
    f"global {kind.replace('_', ' ')}": lambda kind=kind: len(getattr(module, f"_global_{kind}"))
    for kind in (
        "forward_hooks",
        "forward_pre_hooks",
        "backward_hooks",
        "backward_pre_hooks",
        "module_registration_hooks",
        "buffer_registration_hooks",
        "parameter_registration_hooks",
    )
}
"""Name of each setting of a process, and how to read it."""

NAMESPACES: Mapping[str, ModuleType | type] = {
    "time": time,
    "torch": torch,
    "torch.nn": nn,
    "torch.nn.functional": nn.functional,
    "torch.Tensor": torch.Tensor,
    "torch.nn.Module": nn.Module,
} | {
    f"torch.nn.{name}": layer
    for name, layer in vars(nn).items()
    if isinstance(layer, type) and issubclass(layer, nn.Module) and layer is not nn.Module
}
"""Where models find the functions that they are made of."""


@dataclass(frozen=True)
class ProcessState:
    """Settings of PyTorch and its public functions, at one moment."""

    settings: Mapping[str, object]
    functions: Mapping[str, Function]


def process_state() -> ProcessState:
    """Read the settings and functions that every side of a comparison shares."""
    return ProcessState(
        {name: read() for name, read in SETTINGS.items()}, dict(_functions(NAMESPACES))
    )


def changes(before: ProcessState, after: ProcessState) -> list[str]:
    """Name what differs, as ``threads 2 → 1`` or ``torch.nn.functional.linear replaced``.

    Functions that came or went are none: importing a package adds some. Nor are those that PyTorch
    itself puts in another's place, as torch.compile does with ``torch.manual_seed``.
    """
    settings = [
        f"{name} {value} → {after.settings[name]}"
        for name, value in before.settings.items()
        if after.settings[name] != value
    ]
    functions = [
        f"{name} replaced"
        for name, function in before.functions.items()
        if (now := after.functions.get(name, function)) is not function and not _of_pytorch(now)
    ]
    return settings + functions


def _of_pytorch(function: Function) -> bool:
    code = getattr(function, "__code__", None)  # a name can be borrowed, by functools.wraps
    return code is not None and Path(code.co_filename).is_relative_to(Path(torch.__file__).parent)


def _functions(namespaces: Mapping[str, ModuleType | type]) -> Iterator[tuple[str, Function]]:
    for place, namespace in namespaces.items():
        for name, value in vars(namespace).items():
            if callable(value) and (namespace is nn or not isinstance(value, type)):
                yield f"{place}.{name}", value
