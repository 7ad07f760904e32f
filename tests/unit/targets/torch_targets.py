"""What a case does with PyTorch, small: does it work in a fork as in a fresh process?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import torch


def multiply(argument: dict[str, Any]) -> dict[str, Any]:
    """Multiply on several OpenMP threads."""
    torch.set_num_threads(2)
    a = torch.arange(512 * 512, dtype=torch.float64).reshape(512, 512) / 512
    product = a @ a
    expected = (a.numpy() @ a.numpy()).sum()
    return {
        "close": bool(abs(product.sum().item() / expected - 1) < 1e-9),
        "os_threads": psutil.Process().num_threads(),
        "cuda_initialised": torch.cuda.is_initialized(),
        "cuda_in_bad_fork": torch.cuda._is_in_bad_fork(),
    }


def compile_function(argument: dict[str, Any]) -> dict[str, Any]:
    """Compile with Inductor into the case's own cache."""
    torch.set_num_threads(2)
    torch._dynamo.reset()
    x = torch.linspace(-1, 1, 10_000)
    compiled = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2)
    cache = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    return {
        "close": torch.allclose(compiled(x), torch.ones_like(x), atol=1e-5),
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
        "libraries": len(list(cache.rglob("*.so"))),
    }
