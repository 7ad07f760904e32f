"""Memory on the device, and the bytes of files. Host memory is watched by the supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch


@dataclass(frozen=True)
class DeviceMemory:
    """Peaks on an accelerator, this process alone; None on a CPU, and on MPS, which keeps no peaks.

    Attributes
    ----------
    cuda_allocated_bytes : int or None
        Of what tensors held.
    cuda_reserved_bytes : int or None
        Of what PyTorch's caching allocator held, in use or not. What an engine takes past that
        allocator (ONNX Runtime, TensorRT) is not seen.
    """

    cuda_allocated_bytes: int | None
    cuda_reserved_bytes: int | None


def device_memory(device: Literal["cpu", "cuda", "mps"]) -> DeviceMemory:
    """Return the peaks since the process began."""
    if device != "cuda":
        return DeviceMemory(cuda_allocated_bytes=None, cuda_reserved_bytes=None)
    torch.cuda.synchronize()
    return DeviceMemory(
        cuda_allocated_bytes=torch.cuda.max_memory_allocated(),
        cuda_reserved_bytes=torch.cuda.max_memory_reserved(),
    )


def artefact_bytes(paths: Iterable[Path]) -> int:
    """Return the bytes of files and of all files within folders; a file is counted once.

    Raises
    ------
    FileNotFoundError
        When a path does not exist: an artefact that is missing is no artefact of zero bytes.
    """
    files: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files.update(file.resolve() for file in path.rglob("*") if file.is_file())
        else:
            files.add(path.resolve(strict=True))
    return sum(file.stat().st_size for file in files)
