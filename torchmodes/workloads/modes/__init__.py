"""Modes: one module per engine, each a way of executing a model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmodes.config.modes import CUSTOM_OPERATORS

if TYPE_CHECKING:
    from torchmodes.workloads.modes.base import Engine

ENGINES = {
    "eager": "torchmodes.workloads.modes.eager",
    "compile": "torchmodes.workloads.modes.compile",
    "fx": "torchmodes.workloads.modes.fx",
    "torchscript": "torchmodes.workloads.modes.torchscript",
    "export": "torchmodes.workloads.modes.export",
    "aotinductor": "torchmodes.workloads.modes.aotinductor",
    "onnxruntime": "torchmodes.workloads.modes.onnxruntime",
    "openvino": "torchmodes.workloads.modes.openvino",
    "tensorrt": "torchmodes.workloads.modes.tensorrt",
    "quantize": "torchmodes.workloads.modes.quantize",
    "user": "torchmodes.workloads.modes.user",
}
"""The module of each engine; its class is ``Engine``."""

PACKAGES = {
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13"),
    "openvino": ("openvino",),
    "tensorrt": ("torch-tensorrt", "tensorrt-cu13"),
    "quantize": ("torchao",),
}
"""The distributions that an engine needs beside PyTorch: another version makes results stale."""

BACKEND_PACKAGES = {
    "openxla": "torch_xla",
    "tensorrt": "torch-tensorrt",
    "tvm": "apache-tvm",
}
"""The distributions of those backends of torch.compile that have another name."""


def create_engine(
    options: Mapping[str, Any], *, operators: Path | None = None, precision: str = "fp32"
) -> Engine:
    """Create the engine of a mode.

    Parameters
    ----------
    options
        The mode's section of the configuration, as a dictionary.
    operators
        The shared library of the custom operators, where the mode uses them.
    precision
        Of the case.
    """
    module = importlib.import_module(ENGINES[options["engine"]])
    return module.Engine(options, operators=operators, precision=precision)


def packages_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the distributions that a mode may need beside PyTorch, those of its backends too.

    One that does not exist is never installed: most backends come with PyTorch.
    """
    backends = (BACKEND_PACKAGES.get(name, name) for name in _backends(options))
    return (*PACKAGES.get(options["engine"], ()), *backends)


def needs_compiler(options: Mapping[str, Any]) -> bool:
    """Whether a mode has the code that TorchInductor writes compiled."""
    return (
        options["engine"] == "aotinductor"
        or "inductor" in _backends(options)
        or bool(options.get("compile"))
    )


def _backends(options: Mapping[str, Any]) -> list[str]:
    """Return the backends of torch.compile that a mode names."""
    return [options["backend"], *options["fallback"]] if options["engine"] == "compile" else []


def uses_custom_operators(options: Mapping[str, Any]) -> bool:
    """Whether a mode needs the shared library of the custom operators."""
    return CUSTOM_OPERATORS in options.get("passes", [])
