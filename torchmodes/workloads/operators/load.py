"""Load the operators into this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    for name, operation in (("add", torch.add), ("multiply", torch.mul)):
        torch.library.register_fake(f"torchmodes::{name}", partial(_fake, operation))


def _fake(
    operation: Callable[..., torch.Tensor], self: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    result = operation(self, other)
    if not result.is_floating_point():
        raise ValueError(f"torchmodes operators take floating-point tensors, not {result.dtype}")
    return result
