"""What an operator or a kernel is for, by its name, whichever engine or library named it."""

from __future__ import annotations

import re

import pandas as pd

GROUPS = {
    "compiled": r"CompiledFxGraph|cpp_fused|TorchScript|^triton_(?!tem)|^forward$|::Subgraph$",
    "attention": r"scaled_dot_product|attention|flash|fmha",
    "convolution": r"conv(?!ert)|implicit_gemm|winograd",
    "matmul": r"(^|_|::)(add|b|badd)?b?mm|matmul|linear|gemm|cutlass|fullyconnected",
    "normalisation": r"norm|::MVN$",
    "data movement": r"copy|::_to|reorder|transpose|permute|reshape|view|concat|::cat$|::convert$"
    r"|::cast$|contiguous|clone|slice|split|gather|embedding|expand|unsqueeze|as_strided|memcpy",
}
"""Patterns of names, in any case; the first that fits counts."""
ELEMENTWISE = "elementwise"
MULTIPLYING = ("attention", "convolution", "matmul")
"""Groups whose work is products, which low precision makes cheaper."""
_PATTERNS = {group: re.compile(words, re.IGNORECASE) for group, words in GROUPS.items()}


def group_of(name: str) -> str:
    """Return the group of an operator or a kernel."""
    return next((g for g, words in _PATTERNS.items() if words.search(name)), ELEMENTWISE)


def by_group(account: pd.DataFrame) -> pd.DataFrame:
    """Add up an account of a diff by group; what is left of the step stays a row of its own."""
    groups = account["name"].map(group_of).where(account["kind"] != "uncovered", account["name"])
    kinds = account["kind"].where(account["kind"] == "uncovered", "group")
    named = account.assign(name=groups, kind=kinds)
    return named.groupby(["name", "kind"], as_index=False).sum(numeric_only=True)
