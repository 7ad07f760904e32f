"""Floating-point operations of a forward pass, counted operator by operator."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from torchmodes.models.base import BuiltModel


@contextmanager
def counting_flops() -> Generator[FlopCounterMode]:
    """Count the floating-point operations of what runs inside, by operator and by module.

    A multiplication with its addition counts as two, as is usual. Matrix products, convolutions
    and attention are counted; element-wise work, normalisation and look-ups are not.

    Notes
    -----
    Fused attention on the CPU counts as nothing, so attention runs as the two matrix products it
    is (`SDPBackend.MATH`); on MPS it stays one operator, for which the formula is given.
    """
    on_mps = torch.ops.aten._scaled_dot_product_attention_math_for_mps
    counter = FlopCounterMode(display=False, custom_mapping={on_mps: _attention_flops})
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter


def count_flops(built: BuiltModel) -> int | None:
    """Run one forward pass of the example inputs and count its floating-point operations.

    Returns
    -------
    int or None
        The operations of the whole batch, by shape, whatever the precision and the mode; None
        where the counter knows no operator of the model.
    """
    with torch.no_grad(), counting_flops() as counter:
        built.inputs.call(built.module)
    return counter.get_total_flops() or None


def by_module(counter: FlopCounterMode, module: nn.Module) -> dict[str, int]:
    """Return what was counted while a module ran, per submodule.

    Returns
    -------
    dict
        By the name as in ``named_modules`` (the module itself is ``""``), submodules included;
        modules in which nothing was counted are left out.
    """
    root = type(module).__name__
    return {
        name[len(root) + 1 :]: sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *rest: object, **more: object
) -> int:
    return sdpa_flop_count(query, key, value)
