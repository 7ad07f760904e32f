"""What an engine computes in which number format, counted in the graph that it executes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["convolution", "matrix product", "attention"]


@dataclass(frozen=True)
class Product:
    """A convolution, a product of matrices, or an attention's two, in an executed graph.

    Attributes
    ----------
    precision
        Of what is multiplied: ``int8``, ``int4`` (weights alone), ``bf16``, ``fp32``.
    multiply_adds
        Of one call.
    """

    kind: Kind
    precision: str
    multiply_adds: int


def count_executed(products: Iterable[Product], precision: str) -> dict[str, Any]:
    """Count products by format, and tell which share of the multiply-adds a precision has.

    These are facts of an engine: ``no_effect`` where a lower precision than fp32 has nothing.
    """
    products = list(products)
    in_it = [product for product in products if product.precision == precision]
    total = sum(product.multiply_adds for product in products)
    facts: dict[str, Any] = {
        "executed": dict(Counter(f"{p.precision} {p.kind}" for p in products)),
        "share_of_multiply_adds": sum(p.multiply_adds for p in in_it) / total if total else 0.0,
    }
    if not in_it and precision != "fp32":
        facts["no_effect"] = (
            f"none of its {len(products)} convolutions and matrix products is computed in"
            f" {precision}"
        )
    return facts
