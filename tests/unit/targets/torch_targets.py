"""What a case does with PyTorch, small: does it work in a fork as in a fresh process?"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import torch

from torchmodes.planning.cases import parse_case
from torchmodes.processes.folders import MARK, PREFIX
from torchmodes.processes.jobs import HEADERS
from torchmodes.processes.spec import CASE_VARIABLE


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


def count_gpus(argument: dict[str, Any]) -> dict[str, Any]:
    """Count the GPUs, and tell what was known of them before."""
    return {"cached": torch.cuda._cached_device_count, "counted": torch.cuda.device_count()}


def compile_cold(argument: dict[str, Any]) -> dict[str, Any]:
    """Compile as a job does; tell what Inductor's folders held before, and where files are now.

    And whether what was compiled is right, and which names still hold a path of the fork server's.
    """
    from torchmodes.planning.job import EAGER, Job
    from torchmodes.workloads.workload import configure_process

    cache, temporary = (Path(os.environ[name]) for name in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"))
    case = parse_case("inference/cpu/m/inductor/fp32-b1")
    configure_process(Job(case=case, model={}, mode=EAGER, seed=0, threads=2))
    before = [str(path) for place in (cache, temporary) for path in place.rglob("*")]
    x = torch.linspace(-1, 1, 10_000)
    compiled = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2)
    close = torch.allclose(compiled(x), torch.ones_like(x), atol=1e-5)
    outside = [Path(tempfile.gettempdir()), *Path(os.environ[CASE_VARIABLE]).parent.iterdir()]
    return {
        "close": close,
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
        "libraries": len(list(cache.rglob("*.so"))),
        "before": before,
        "headers_in_cache": len(list((cache / HEADERS).glob("*.gch"))),
        "elsewhere": [
            str(path)
            for place in outside
            if not cache.is_relative_to(place)
            for path in place.rglob("*")
            if path.is_file() and path.name != MARK
        ],
        "of_the_server": [
            f"{module}.{name}"
            for module, loaded in list(sys.modules.items())
            for name, value in list(getattr(loaded, "__dict__", {}).items())
            if isinstance(value, str | Path) and f"{PREFIX}server-" in str(value)
        ],
    }
