"""Compile and link the operators; run as a script by `torchmodes.workloads.operators.build`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("source")
LIBRARY_NAME = "torchmodes_ops"
FLAGS = ["-O3", "-DAT_PER_OPERATOR_HEADERS"]  # ATen's headers then leave out all other operators


@dataclass(frozen=True)
class CudaKernels:
    """Whether the CUDA kernels are compiled, and why (not)."""

    compiled: bool
    reason: str


def decide_cuda(
    *, torch_cuda: str | None, toolkit_cuda: str | None, gpu: bool, architectures: str | None
) -> CudaKernels:
    """Decide whether nvcc compiles the CUDA kernels.

    Without it the library still serves CUDA tensors, through ATen: nvcc is asked of nobody, and a
    build for a machine without a GPU does not wait 40 s for it.

    Parameters
    ----------
    torch_cuda, toolkit_cuda
        Versions of CUDA (``13.0``): that PyTorch was built with, and of nvcc; None: there is none.
    gpu, architectures
        Whether a GPU is visible, and ``TORCH_CUDA_ARCH_LIST``, which asks for the kernels where
        none is (a login node).
    """
    if torch_cuda is None:
        return CudaKernels(False, "PyTorch is built without CUDA")
    if not (gpu or architectures):
        return CudaKernels(False, "no GPU is visible and TORCH_CUDA_ARCH_LIST is not set")
    if toolkit_cuda is None:
        return CudaKernels(False, "no CUDA toolkit (nvcc and its headers) was found at CUDA_HOME")
    if toolkit_cuda.split(".")[0] != torch_cuda.split(".")[0]:
        return CudaKernels(False, f"nvcc is CUDA {toolkit_cuda}, PyTorch has CUDA {torch_cuda}")
    return CudaKernels(True, f"nvcc {toolkit_cuda}")


def toolkit_version(cuda_home: str | None) -> str | None:
    """Return the version of a CUDA toolkit, None where nvcc or its headers are missing."""
    if cuda_home is None or not (Path(cuda_home) / "include" / "cuda_runtime.h").is_file():
        return None
    nvcc = Path(cuda_home) / "bin" / "nvcc"
    if not nvcc.is_file():
        return None
    told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", told)
    return found.group(1) if found else None


def compile_library(build_directory: Path) -> CudaKernels:
    """Compile the library in a folder and load it into this process."""
    import torch
    from torch.utils import cpp_extension

    cuda = decide_cuda(
        torch_cuda=torch.version.cuda,
        toolkit_cuda=toolkit_version(cpp_extension.CUDA_HOME),
        gpu=torch.cuda.is_available(),
        architectures=os.environ.get("TORCH_CUDA_ARCH_LIST"),
    )
    sources = [SOURCE / "operators.cpp", SOURCE / "cpu.cpp"]
    if cuda.compiled:
        sources.append(SOURCE / "cuda.cu")
    # The one path that PyTorch 2.14 hands to the shell unquoted; it may have a space.
    cpp_extension.TORCH_LIB_PATH = shlex.quote(cpp_extension.TORCH_LIB_PATH)
    cpp_extension.load(
        name=LIBRARY_NAME,
        sources=[str(path) for path in sources],
        extra_cflags=[*FLAGS, *(["-DTORCHMODES_WITH_NVCC"] if cuda.compiled else [])],
        extra_cuda_cflags=[*FLAGS, "--extended-lambda", *_headers_of_wheels(Path(torch.__file__))],
        build_directory=str(build_directory),
        with_cuda=cuda.compiled,
        is_python_module=False,
    )
    return cuda


def _headers_of_wheels(torch_file: Path) -> list[str]:
    """Let nvcc find, last of all, headers that come with PyTorch's CUDA libraries.

    ATen includes those of cuBLAS, cuSPARSE and cuSOLVER, which a small toolkit lacks.
    """
    folders = sorted(torch_file.parents[1].glob("nvidia/*/include"))
    return [f"-Xcompiler=-idirafter,{folder}" for folder in folders]


def main() -> None:
    """Compile into the folder that the command line names, and tell what was done."""
    started = time.perf_counter()
    cuda = compile_library(Path(sys.argv[1]))
    seconds = time.perf_counter() - started
    served = "kernels of its own" if cuda.compiled else "ATen"
    sys.stdout.write(
        f"built {LIBRARY_NAME} in {seconds:.1f} s; CUDA tensors are served by {served} "
        f"({cuda.reason})\n"
    )


if __name__ == "__main__":
    main()
