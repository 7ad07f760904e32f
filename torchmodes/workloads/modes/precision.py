"""Precisions: what a case's number format asks of the module, the inputs and the device."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from torchmodes.planning.cases import Case
from torchmodes.workloads.modes.base import Engine, Unsupported
from torchmodes.workloads.structures import Inputs

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZED = frozenset({"int8", "int4", "fp8"})
"""What an engine makes of a module, by weights that it rounds itself."""
FIRST_SCALE = 2.0**10
"""PyTorch's 2¹⁶ overflows at first, by design: those steps are skipped, and compare with none."""

INSTRUCTIONS: Mapping[str, Mapping[str, str]] = {
    "fp16": {"avx512_fp16": "AVX512-FP16", "amx_fp16": "AMX-FP16"},
    "bf16": {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16", "bf16": "ARM BF16"},
    "int8": {
        "avx512_vnni": "AVX512-VNNI",
        "avx_vnni": "AVX-VNNI",
        "amx_int8": "AMX-INT8",
        "dot": "ARM dot product",
        "i8mm": "ARM I8MM",
    },
}
"""What a CPU multiplies a precision with, by the name that `torch.cpu.get_capabilities` gives it.

With AMX-BF16, say, comes a product of bf16 numbers that is summed in fp32. Whatever has none of
a precision's converts every number to fp32 first.
"""


def unsupported_precision(
    case: Case, *, precisions: Collection[str] = Engine.precisions
) -> Unsupported | None:
    """Say why a case should not run here in its precision, or None; `precisions`: of its engine."""
    if case.precision not in precisions:
        return _not_among(case, precisions)
    if case.precision == "tf32" and case.device != "cuda":
        return Unsupported(
            f"tf32 is a format of NVIDIA tensor cores; {case.device} has none", "use fp32 or bf16"
        )
    if case.precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        return Unsupported("tf32 needs compute capability 8.0 (Ampere)", "use fp32 or fp16")
    if (
        case.precision == "bf16"
        and case.device == "cuda"
        and torch.cuda.get_device_capability() < (8, 0)
    ):
        return Unsupported(
            "bf16 needs compute capability 8.0 (Ampere); before, PyTorch emulates it",
            "use fp16 or fp32",
        )
    if case.precision == "fp8" and case.device != "cuda":
        return Unsupported(
            f"fp8 is a format of GPUs' tensor cores; {case.device} would emulate it",
            "run the case on cuda, or ask for the precision int8",
        )
    if case.precision == "fp8" and torch.cuda.get_device_capability() < (8, 9):
        return Unsupported(
            "fp8 needs compute capability 8.9 (Ada); this GPU's tensor cores do not multiply it",
            "ask for the precision int8 or bf16",
        )
    if case.precision == "fp16" and case.device == "cpu" and not instructions("fp16"):
        return Unsupported(
            "this CPU has no fp16 arithmetic (AVX512-FP16 or AMX-FP16): it would be emulated,"
            " hundreds of times slower",
            "use bf16 or fp32, or run the case on cuda",
        )
    if case.precision == "bf16" and case.device == "cpu" and not instructions("bf16"):
        return Unsupported(
            "this CPU has no bf16 arithmetic (AVX512-BF16, AMX-BF16 or ARM BF16): it would be"
            " emulated, slower than fp32",
            "use fp32 or int8, or run the case on cuda",
        )
    return None


def instructions(precision: str) -> list[str]:
    """Name what this machine's CPU multiplies a precision with; empty for fp32."""
    there = torch.cpu.get_capabilities()
    return [name for flag, name in INSTRUCTIONS.get(precision, {}).items() if there.get(flag)]


def int8_saturates() -> bool:
    """Whether sums of two products of bytes are cut to 16 bits: with AVX2, before VNNI.

    Weights then need a range of 7 bits.
    """
    return not instructions("int8")


def unsupported_int8(case: Case, engine: str) -> Unsupported | None:
    """Say why an engine that multiplies 8-bit integers on the CPU cannot, or None."""
    if case.device != "cpu":
        return Unsupported(
            f"{engine} multiplies int8 on the CPU, not on {case.device}", "run the case on cpu"
        )
    if instructions("int8") or torch.cpu.get_capabilities().get("avx2"):
        return None
    return Unsupported(
        "this CPU multiplies no 8-bit integers in vectors (VNNI, AMX-INT8, AVX2 or ARM's dot"
        " product): int8 would be slower than fp32",
        "use fp32",
    )


def _not_among(case: Case, precisions: Collection[str]) -> Unsupported:
    if case.precision in QUANTIZED and not QUANTIZED.intersection(precisions):
        return Unsupported(
            f"the mode {case.mode!r} does not quantise",
            f"choose a mode whose engine quantises to {case.precision}",
        )
    known = ", ".join(sorted(precisions))
    return Unsupported(
        f"the mode {case.mode!r} does not compute in {case.precision}",
        f"ask for the precision {known}" if len(precisions) == 1 else f"ask for one of {known}",
    )


def cast(module: nn.Module, inputs: Inputs, precision: str) -> tuple[nn.Module, Inputs]:
    """Put module and floating inputs of an inference case into its precision.

    Of fp8 they come in bf16, from which torchao's kernels by row quantise.
    """
    dtype = torch.bfloat16 if precision == "fp8" else HALF.get(precision)
    if dtype is None:
        return module, inputs
    return module.to(dtype), inputs.map(lambda t: t.to(dtype) if t.is_floating_point() else t)


def autocast(case: Case) -> AbstractContextManager[Any]:
    """Return the context a training step's forward pass runs in."""
    dtype = HALF.get(case.precision)
    return nullcontext() if dtype is None else torch.autocast(case.device, dtype=dtype)


def loss_scaler(case: Case) -> torch.amp.GradScaler | None:
    """Return what scales the loss of a step in fp16, whose small gradients would be zero."""
    if case.precision != "fp16":
        return None
    return torch.amp.GradScaler(case.device, init_scale=FIRST_SCALE)


@contextmanager
def in_precision(precision: str) -> Generator[None]:
    """Allow TF32 where a case asks for it, and forbid it again after.

    Baseline and candidate take turns in one process, so the switch belongs to a side. It takes
    microseconds: enter this outside of what is timed.
    """
    if precision != "tf32":
        yield
        return
    allow_tf32(allowed=True)
    try:
        yield
    finally:
        allow_tf32(allowed=False)


def allow_tf32(*, allowed: bool) -> None:
    """Let fp32 on CUDA mean TF32, or fp32, whatever the version's default is."""
    # Not by the newer `fp32_precision`: torch.export and TorchInductor still read `allow_tf32`,
    # which raises where only the other was set.
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
