"""What a mode made of the model, kept beside the profile: graphs, graph breaks, generated code."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from torchmodes.results.reasons import reason_of
from torchmodes.workloads.workload import Workload

READABLE = (".txt", ".csv", ".json", ".py", ".cpp", ".pickle")
"""What is kept; weights and archives lie with the training, or are made again in seconds."""
SNAPSHOT = "cuda_memory.pickle"


def keep_generated_code(workload: Workload, device: str, directory: Path) -> dict[str, Any]:
    """Write what the mode made of the model into a directory.

    Returns
    -------
    dict
        ``files``, the names of what was written, and ``fault``: why something is missing, or null.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fault = None
    _copy_inductor_code(directory)
    try:
        if device == "cuda":
            with workload.context():
                _snapshot_cuda_memory(workload, directory / SNAPSHOT)
        workload.engine.export(directory)
    except Exception as error:  # noqa: BLE001 - the profile stands without it
        fault = reason_of(error)
    for path in directory.iterdir():
        if path.suffix not in READABLE:
            path.unlink()
    return {"files": sorted(path.name for path in directory.iterdir()), "fault": fault}


def _copy_inductor_code(directory: Path) -> None:
    """Copy the code that TorchInductor generated in this process, which serves one case."""
    cache = sys.modules.get("torch._inductor.codecache")
    if cache is None:
        return
    for number, module in enumerate(cache.PyCodeCache.modules):
        source = Path(module.__file__)
        if source.is_file():
            shutil.copyfile(source, directory / f"inductor_{number}.py")


def _snapshot_cuda_memory(workload: Workload, path: Path) -> None:
    """Record the allocations of one call, to be opened at pytorch.org/memory_viz."""
    # Of Python's frames alone: naming those of C++ takes minutes where symbols are large.
    torch.cuda.memory._record_memory_history(stacks="python", max_entries=100_000)
    try:
        workload.call()
        torch.cuda.synchronize()
        torch.cuda.memory._dump_snapshot(str(path))
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
