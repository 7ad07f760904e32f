"""Memory on the device, and sizes of files. Host memory is watched by the supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch


def device_memory(device: Literal["cpu", "cuda", "mps"]) -> tuple[int | None, int | None]:
    """Return the peaks of an accelerator's memory since this process began, in bytes.

    They are what tensors held, and what PyTorch's caching allocator held, in use or not; None on a
    CPU, and on MPS, which keeps no peaks. What an engine takes past that allocator (ONNX Runtime,
    TensorRT) is not seen.
    """
    if device != "cuda":
        return None, None
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


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
