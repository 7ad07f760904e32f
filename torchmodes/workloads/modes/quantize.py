"""Quantisation: linear layers in int8, by torch.ao.quantization or torchao."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from torchmodes.config.modes import QuantizeMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.compile import missing_compiler, recompile_limit_reached
from torchmodes.workloads.structures import Inputs


class Engine(base.Engine):
    """Replaces the weights of linear layers; all other layers stay as they are, in fp32."""

    options: QuantizeMode
    precisions = frozenset({"int8"})
    linear_layers = 0
    quantized_weights = 0
    weights = 0

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse where the library has no int8 kernels for the device, or is not installed."""
        if self.options.library == "torch":
            if case.device != "cpu":
                return base.Unsupported(
                    f"torch.ao.quantization has int8 kernels for the CPU, none for {case.device}",
                    "use library: torchao",
                )
            if torch.backends.quantized.engine == "none":
                return base.Unsupported(
                    "this build of PyTorch has no engine for quantised operators",
                    "use library: torchao",
                )
        elif missing := base.not_installed("torchao"):
            return missing
        if self.options.compile:
            return missing_compiler(case.device)
        return None

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Quantise the weights of every `torch.nn.Linear`."""
        self.weights = sum(p.numel() for p in module.parameters())
        linear = [layer for layer in module.modules() if type(layer) is nn.Linear]
        self.linear_layers = len(linear)
        self.quantized_weights = sum(layer.weight.numel() for layer in linear)
        if self.options.library == "torch":
            # Deprecated in favour of torchao, which is the other choice of `library`.
            return torch.ao.quantization.quantize_dynamic(  # ty: ignore[deprecated]
                module, {nn.Linear}, dtype=torch.qint8
            )
        # By name: importing it takes seconds, which only the modes that use it should pay.
        torchao: Any = importlib.import_module("torchao.quantization")
        if self.options.method == "dynamic":
            torchao.quantize_(module, torchao.Int8DynamicActivationInt8WeightConfig())
        else:
            torchao.quantize_(module, torchao.Int8WeightOnlyConfig())
        return torch.compile(module) if self.options.compile else module

    def stats(self) -> dict[str, Any]:
        """Count the layers and the share of all weights that are int8."""
        stats: dict[str, Any] = {
            "linear_layers": self.linear_layers,
            "share_of_weights": self.quantized_weights / self.weights if self.weights else 0.0,
        }
        if self.options.library == "torch":
            stats["quantized_engine"] = torch.backends.quantized.engine
        if self.options.compile:
            stats["graphs"] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            if limit := recompile_limit_reached():
                stats["warnings"] = [f"{limit}: what was not compiled ran in eager"]
        if not self.linear_layers:
            stats["no_effect"] = "the model has no torch.nn.Linear: nothing was quantised"
        elif stats.get("graphs") == 0:
            stats["no_effect"] = "torch.compile captured no graph: int8 ran in eager"
        return stats
