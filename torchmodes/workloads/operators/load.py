"""Load the operators into this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def load_operators(library: Path) -> None:
    """Make ``torch.ops.torchmodes.add`` and ``.multiply`` available, with their fake kernels.

    A second call does nothing: a process registers the operators once, whichever file they are in.

    Raises
    ------
    ValueError
        When there is no such file, with how to build it.
    """
    import torch

    if hasattr(torch.ops.torchmodes, "add"):
        return
    if not library.is_file():
        raise ValueError(
            f"{library}: no such file; it holds the compiled custom operators and is built by "
            f"`snakemake --cores 4 {library}`"
        )
    torch.ops.load_library(library)
    torch.library.register_fake("torchmodes::add", _fake_add)
    torch.library.register_fake("torchmodes::multiply", _fake_multiply)


def _fake_add(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return _floating(self + other)


def _fake_multiply(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return _floating(self * other)


def _floating(result: torch.Tensor) -> torch.Tensor:
    if not result.is_floating_point():
        raise ValueError(f"torchmodes operators take floating-point tensors, not {result.dtype}")
    return result
