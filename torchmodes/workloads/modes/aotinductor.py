"""AOTInductor: torch.export, compiled ahead of time to a package that needs no Python class."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.modes import AotInductorMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.compile import missing_compiler, missing_cpp_compiler
from torchmodes.workloads.modes.export import (
    capture,
    count_operators,
    filling,
    holds_more,
    with_tensors_alone,
)
from torchmodes.workloads.structures import Inputs, Structure

TOOLKIT_HEADERS = ("cuda.h", "cuda_runtime_api.h", "crt/host_defines.h")
"""What AOTInductor's C++ code includes on CUDA; the wheels of CUDA's libraries lack the last."""


class AotInductorEngine(base.Engine):
    """Runs the package's compiled code; weights are inside it."""

    options: AotInductorMode
    one_shape = True
    package: Path
    compile_s: float | None = None
    load_s: float

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Ask for a C++ compiler, and on CUDA for its headers: the package is a shared library."""
        return (
            missing_cpp_compiler() or missing_compiler(case.device) or _missing_toolkit(case.device)
        )

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Export, compile, package and load."""
        program = capture(module, inputs, self.batches)
        self.made = {"operators_exported": count_operators(program)}
        self.returned = Structure.of_output(program)
        if holds_more(self.returned):
            program = with_tensors_alone(program)
        start = time.perf_counter()
        path = torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(self.directory / "model.pt2"),
            inductor_configs={"max_autotune": True} if self.options.max_autotune else None,
        )
        self.compile_s = time.perf_counter() - start
        return self._loaded(Path(path))

    def save(self, folder: Path) -> list[Path]:
        """Copy the package that `torch._inductor.aoti_load_package` reads."""
        return [Path(shutil.copy(self.package, folder))]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Load the package."""
        return self._loaded(folder / "model.pt2")

    def _loaded(self, package: Path) -> Callable[..., Any]:
        start = time.perf_counter()
        loaded = torch._inductor.aoti_load_package(str(package))
        self.package, self.load_s = package, time.perf_counter() - start
        assert self.returned is not None
        return filling(loaded, self.returned)

    def stats(self) -> dict[str, Any]:
        """Tell what was compiled and how long it took; loading is all that a server pays."""
        return self.made | {"compile_s": self.compile_s, "load_s": self.load_s}


def _missing_toolkit(device: str) -> base.Unsupported | None:
    if device != "cuda":
        return None
    from torch.utils.cpp_extension import CUDA_HOME

    if CUDA_HOME is not None and all(
        Path(CUDA_HOME, "include", header).is_file() for header in TOOLKIT_HEADERS
    ):
        return None
    return base.Unsupported(
        "AOTInductor found no CUDA toolkit, whose headers its C++ code includes",
        f"install the toolkit of CUDA {torch.version.cuda} and set CUDA_HOME to its folder",
    )
