"""Quantisation by PyTorch's own means: torch.ao.quantization, or torchao with TorchInductor."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils import _pytree

from torchmodes.config.modes import QuantizeMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.compile import missing_compiler, recompile_limit_reached
from torchmodes.workloads.modes.executed import Kind, Product, count_executed
from torchmodes.workloads.modes.export import capture
from torchmodes.workloads.modes.precision import int8_saturates, unsupported_int8
from torchmodes.workloads.structures import Inputs

INT4_GROUP = 32
"""Weights in a row that share a scale."""
MULTIPLES = {"int4": (INT4_GROUP, 16), "fp8": (16, 16)}
"""Of which columns and rows of weights are multiples, in a precision: the kernels
`torch.ops.aten._weight_int4pack_mm_for_cpu` and `torch._scaled_mm` take no others."""

PRODUCTS: Mapping[Any, Kind] = {
    torch.ops.aten.conv1d.default: "convolution",
    torch.ops.aten.conv2d.default: "convolution",
    torch.ops.aten.linear.default: "matrix product",
    torch.ops.aten.matmul.default: "matrix product",
    torch.ops.aten.scaled_dot_product_attention.default: "attention",
}
"""What multiplies in a graph of torch.export."""
INT8_KERNELS = ("onednn::qconv", "onednn::qlinear")
"""How the profiler calls what TorchInductor makes of a product in int8."""
FP8_KERNEL = "_scaled_mm"
"""Part of the profiler's name for a product in fp8: PyTorch's operator, or a kernel of Triton's."""


class QuantizeEngine(base.Engine):
    """Replaces weights of linear layers; with calibrated scales, every convolution's too."""

    options: QuantizeMode
    precisions = frozenset({"int8", "int4", "fp8"})
    linear_layers = 0
    quantized_weights = 0
    weights = 0
    example: Inputs
    compiled: Callable[..., Any]
    products: list[Product]

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse where the library has no kernels for the device, or is not installed."""
        method = self.options.method
        if case.precision == "int4" and method != "weight-only":
            return base.Unsupported(
                f"method: {method} multiplies in int8; int4 is a format of weights alone",
                "use method: weight-only, or ask for the precision int8",
            )
        if case.precision == "int4" and case.device != "cpu":
            return base.Unsupported(
                f"torchao's int4 weights are used here by PyTorch's kernel for the CPU, not on"
                f" {case.device}",
                "run the case on cpu, or ask for the precision int8",
            )
        if case.precision == "fp8" and method == "static":
            return base.Unsupported(
                "method: static calibrates int8; fp8 is scaled at each call, or of weights alone",
                "use method: dynamic or weight-only, or ask for the precision int8",
            )
        if case.precision == "fp8" and self.options.library == "torch":
            return base.Unsupported("torch.ao.quantization has no fp8", "use library: torchao")
        if method == "static" and (refused := unsupported_int8(case, "TorchInductor")):
            return refused
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
        """Quantise the weights of every `torch.nn.Linear`, or by calibration what multiplies."""
        if self.options.method == "static":
            return self._calibrated(module, inputs)
        self.weights = sum(p.numel() for p in module.parameters())
        linear = [layer for layer in module.modules() if type(layer) is nn.Linear]
        linear = [layer for layer in linear if _fits(layer, self.precision)]
        self.linear_layers = len(linear)
        self.quantized_weights = sum(layer.weight.numel() for layer in linear)
        if self.options.library == "torch":
            # Deprecated in favour of torchao, which is the other choice of `library`.
            return torch.ao.quantization.quantize_dynamic(  # ty: ignore[deprecated]
                module, {nn.Linear}, dtype=torch.qint8
            )
        # By name: importing it takes seconds, which only the modes that use it should pay.
        torchao: Any = importlib.import_module("torchao.quantization")
        weights_alone = self.options.method == "weight-only"
        if self.precision == "fp8":
            config = (
                torchao.Float8WeightOnlyConfig()
                if weights_alone
                else torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow())
            )
            torchao.quantize_(module, config, lambda layer, name: layer in linear)
        elif not weights_alone:
            torchao.quantize_(module, torchao.Int8DynamicActivationInt8WeightConfig())
        elif self.precision == "int4":
            int4: Any = importlib.import_module("torchao.prototype.quantization.int4")
            config = int4.PrototypeInt4WeightOnlyConfig(group_size=INT4_GROUP)
            torchao.quantize_(module, config, lambda layer, name: layer in linear)
        else:
            torchao.quantize_(module, torchao.Int8WeightOnlyConfig())
        self.example = inputs
        self.compiled = torch.compile(module) if self.options.compile else module
        return self.compiled

    def _calibrated(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Observe ranges in an exported graph, fix scales, and compile it (PT2E).

        https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_x86_inductor.html
        """
        pt2e: Any = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
        x86: Any = importlib.import_module(
            "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"
        )
        # Strictly: otherwise calls of one module in several places have one name, and the quantiser
        # raises "Input partition has more than one output node".
        graph = capture(module, inputs, strict=True).module()
        config = x86.get_default_x86_inductor_quantization_config(reduce_range=int8_saturates())
        prepared = pt2e.prepare_pt2e(graph, x86.X86InductorQuantizer().set_global(config))
        for batch in self.calibration_inputs(inputs, self.options.calibration_batches):
            batch.call(prepared)
        converted = pt2e.convert_pt2e(prepared)
        leaves = _pytree.tree_leaves((inputs.args, inputs.kwargs))
        ShapeProp(converted).run(*leaves, enable_io_processing=False)
        self.products = list(_products(converted.graph))
        # Its patterns of int8 kernels need weights that are constants.
        torch._inductor.config.freezing = True
        self.example, self.compiled = inputs, torch.compile(converted)
        return self.compiled

    def stats(self) -> dict[str, Any]:
        """Count what became int8 or int4, and which share that is."""
        if self.options.method == "static":
            return self._stats_of_calibrated()
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
        if self.precision == "fp8" and self.options.method == "dynamic":
            stats["fp8_kernels"] = self._kernels(lambda name: FP8_KERNEL in name)
        if not self.linear_layers:
            fitting = "" if self.precision == "int8" else f" whose shape {self.precision} fits"
            stats["no_effect"] = f"the model has no torch.nn.Linear{fitting}: nothing was quantised"
        elif stats.get("graphs") == 0:
            stats["no_effect"] = f"torch.compile captured no graph: {self.precision} ran in eager"
        elif stats.get("fp8_kernels") == 0:
            stats["no_effect"] = "a call ran no kernel of fp8: what was quantised ran in bf16"
        return stats

    def _stats_of_calibrated(self) -> dict[str, Any]:
        """Tell the products of the graph, and how many kernels of int8 a call runs."""
        stats = self.made | count_executed(self.products, "int8")
        stats["graphs"] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        stats["int8_kernels"] = ran = self._kernels(lambda name: name.startswith(INT8_KERNELS))
        quantized = sum(product.precision == "int8" for product in self.products)
        if quantized and not ran:
            stats["no_effect"] = "TorchInductor made no int8 kernel of what was quantised"
        elif ran < quantized:
            told = (
                f"a call ran {ran} kernels of int8 for {quantized} quantised convolutions and"
                " products: the others were converted back to fp32"
            )
            stats["warnings"] = [*stats.get("warnings", []), told]
        return stats

    def _kernels(self, counted: Callable[[str], bool]) -> int:
        """Run the example once under the profiler, and count what it names so."""
        with (
            self.context(),
            torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        ):
            self.example.call(self.compiled)
        return sum(counted(event.name) for event in profile.events())


def _fits(layer: nn.Linear, precision: str) -> bool:
    """Whether the weights of a layer have a shape that a precision has kernels for."""
    of_columns, of_rows = MULTIPLES.get(precision, (1, 1))
    return layer.in_features % of_columns == 0 and layer.out_features % of_rows == 0


def _products(graph: torch.fx.Graph) -> Iterator[Product]:
    """Yield what multiplies in a converted graph: in int8 where all it takes was quantised."""
    for node in graph.nodes:
        kind = PRODUCTS.get(node.target)
        if kind is None:
            continue
        low = all("dequantize" in str(arg.target) for arg in node.args[:2])
        out, given, other = (each.meta["tensor_meta"].shape for each in (node, *node.args[:2]))
        each = {
            "convolution": prod(other[1:]),
            "matrix product": given[-1],
            "attention": 2 * other[-2],  # with every key, and of every value
        }[kind]
        yield Product(kind, "int8" if low else "fp32", each * prod(out))
