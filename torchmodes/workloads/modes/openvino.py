"""OpenVINO: the exported program, or its calibrated ONNX file, compiled for the CPU."""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.modes import OpenVinoMode
from torchmodes.planning.cases import Case
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.batches import vary
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.executed import Kind, Product, count_executed
from torchmodes.workloads.modes.export import module_path
from torchmodes.workloads.modes.onnx_files import (
    capture_for_onnx,
    node_layers,
    write,
    write_calibrated,
)
from torchmodes.workloads.modes.precision import unsupported_int8
from torchmodes.workloads.structures import Flattened, Inputs, returned_dtypes, tensors_taken

TYPES = frozenset(
    {torch.bool, torch.float16, torch.float32, torch.float64}
    | {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8}
)
"""Types that OpenVINO has of those of NumPy, in whose arrays tensors are handed over."""

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What OpenVINO computes in where the model does not say int8.

Without a hint a CPU with AMX or AVX512-BF16 would lower fp32 to bf16.
"""
FORMATS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""OpenVINO's names of number formats, where they differ."""
KINDS: Mapping[str, Kind] = {
    "Convolution": "convolution",
    "GroupConvolution": "convolution",
    "MatMul": "matrix product",
    "FullyConnected": "matrix product",
}
"""What multiplies, by OpenVINO's name for the type of a layer.

Attention is not told: its two products become part of a layer of type Subgraph.
"""
_MADE_OF_A_VALUE = re.compile(r"_(DequantizeLinear|original)$")
LAYERS = "layers.json"
"""Lies beside what was shipped: the module of each operator, by its name."""


class OpenVinoEngine(base.Engine):
    """Runs OpenVINO's compiled model on the case's threads."""

    options: OpenVinoMode
    one_shape = True
    own_threads = True

    precisions = frozenset(HINTS)
    takes = TYPES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.times: dict[str, float] = {}
        self.layers: dict[str, str] = {}

    @property
    def lowers_precision(self) -> bool:
        """OpenVINO lowers operators; what goes in and comes out stays in fp32."""
        return True

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse other devices, and int8 where the CPU cannot multiply it."""
        if case.device != "cpu":
            return base.Unsupported(
                f"the engine openvino runs on the CPU, not on {case.device}",
                "run the case on cpu",
            )
        if case.precision == "int8" and (refused := unsupported_int8(case, "OpenVINO")):
            return refused
        return base.not_installed("openvino", "onnx", "onnxscript", "onnxruntime")

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Export, calibrate for int8, convert, and compile for latency."""
        openvino: Any = importlib.import_module("openvino")
        start = time.perf_counter()
        flattened = Flattened(module, inputs)
        flat = [Inputs(tuple(batch.tensors())) for batch in (inputs, *self.batches)]
        program = capture_for_onnx(flattened, flat[0], tuple(flat[1:]))
        self.refuse(returned_dtypes(program), "return", TYPES)
        if self.precision == "int8":
            exported, quantized = self.directory / "exported.onnx", self.directory / "int8.onnx"
            write(program, exported, whole=True)
            batches = self.calibration_inputs(inputs, self.options.calibration_batches)
            write_calibrated(exported, batches, quantized)
            self.model = openvino.convert_model(quantized)
            self.layers = _inside(node_layers(exported))
        else:
            fx_decoder: Any = importlib.import_module("openvino.frontend.pytorch.fx_decoder")
            decoder = fx_decoder.TorchFXPythonDecoder.from_exported_program(program)
            self.model = openvino.convert_model(decoder)
            told = {node.name: module_path(node) for node in decoder.pt_module.graph.nodes}
            self.layers = _inside({name: path for name, path in told.items() if path is not None})
            if not vary(flat):
                # Conversion leaves sizes open; kernels are better chosen for those of the case.
                self.model.reshape({i: list(t.shape) for i, t in enumerate(flat[0].tensors())})
        self.returned = flattened.returned(*flat[0].args)
        self.made["operators"] = len(self.model.get_ordered_ops())
        self.times["convert_s"] = time.perf_counter() - start
        start = time.perf_counter()
        # Beside TorchInductor's: kept from a case's first run for its profile, which starts warm.
        cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        self.compiled = self._compile(self.model, Path(cache, "openvino") if cache else None)
        self.times["compile_s"] = time.perf_counter() - start
        return self._opened(inputs)

    def save(self, folder: Path) -> list[Path]:
        """Save the model as OpenVINO's pair of files, weights in fp32, and as compiled of those."""
        openvino: Any = importlib.import_module("openvino")
        path = folder / "model.xml"
        openvino.save_model(self.model, path, compress_to_fp16=False)
        self._compile(path, folder / "compiled")
        write_atomically(folder / LAYERS, json.dumps(self.layers))
        return [path, path.with_suffix(".bin")]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Load what was compiled of the pair of files.

        OpenVINO compiles it again where its version, the processor or the folder is another.
        """
        start = time.perf_counter()
        self.model = folder / "model.xml"
        self.compiled = self._compile(self.model, folder / "compiled")
        self.times["load_s"] = time.perf_counter() - start
        return self._opened(inputs)

    def _opened(self, inputs: Inputs) -> Callable[..., Any]:
        self.take = tensors_taken(inputs)
        request = self.compiled.create_infer_request()
        return self._calling(request, lambda arrays: request.infer(arrays, share_inputs=True))

    def _calling(self, request: Any, infer: Callable[[list[Any]], Any]) -> Callable[..., Any]:
        """Return a call that hands tensors to a request as arrays, and runs that."""
        assert self.returned is not None
        returned, take, outputs = self.returned, self.take, range(len(self.compiled.outputs))

        def call(*args: Any, **kwargs: Any) -> Any:
            infer([tensor.numpy() for tensor in take(args, kwargs)])
            # A request reuses its memory, so what is kept of it is copied.
            return returned.filled(
                [torch.from_numpy(request.get_output_tensor(i).data).clone() for i in outputs]
            )

        return call

    def own_profiler(self) -> base.OwnProfiler:
        """Compile once more, counting each node's time (``PERF_COUNT``)."""
        compiled = self._compile(self.model, None, PERF_COUNT=True)
        request = compiled.create_infer_request()
        told = self.layers
        if isinstance(self.model, Path):  # loaded of what was shipped
            told = json.loads((self.model.parent / LAYERS).read_text(encoding="utf-8"))
        layers = executed_layers(compiled.get_runtime_model(), told)
        counted: list[tuple[int, Any]] = []

        def infer(arrays: list[Any]) -> None:
            began = time.time_ns()
            request.infer(arrays, share_inputs=True)
            counted.append((began, request.get_profiling_info()))

        def finish() -> list[base.ExecutedCall]:
            return executed_calls(counted, layers)

        return base.OwnProfiler("OpenVINO", self._calling(request, infer), finish)

    def _compile(self, model: Any, cache: Path | None, **more: Any) -> Any:
        """Compile a model or its file for latency, or read what the cache has of it."""
        openvino: Any = importlib.import_module("openvino")
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            **more,
        }
        if cache is not None:
            settings["CACHE_DIR"] = str(cache)
        return openvino.compile_model(model, "CPU", settings)

    def stats(self) -> dict[str, Any]:
        """Tell version, threads and times, and in which format what multiplies was executed."""
        stats: dict[str, Any] = {
            **self.made,
            "openvino": importlib.import_module("openvino").__version__,
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "from_cache": self.compiled.get_property("LOADED_FROM_CACHE"),
            **self.times,
        }
        executed = _products(self.compiled.get_runtime_model())
        return stats | count_executed(executed, self.precision)


def executed_calls(
    counted: Sequence[tuple[int, Sequence[Any]]], layers: Mapping[str, str]
) -> list[base.ExecutedCall]:
    """Read the counters after each of all calls of a request: when it began, and its nodes.

    A counter is the mean of all calls so far, in whole microseconds, so that a call's own time is
    what changes its sum; after n calls it is known to n microseconds. Nodes have no start: each
    follows the one before. https://docs.openvino.ai: `InferRequest.get_profiling_info`.
    """
    calls, before = [], dict[str, float]()
    for number, (began, nodes) in enumerate(counted, start=1):
        operators, start = [], 0.0
        for node in nodes:
            if not str(node.status).endswith(".EXECUTED"):
                continue
            so_far = number * node.real_time.total_seconds()
            seconds = max(0.0, so_far - before.get(node.node_name, 0.0))
            before[node.node_name] = so_far
            name = node.node_name
            operators.append(
                base.ExecutedOperator(
                    f"openvino::{node.node_type}", name, start, seconds, layers.get(name)
                )
            )
            start += seconds
        calls.append(base.ExecutedCall(began, tuple(operators)))
    return calls


def executed_layers(executed: Any, layers: Mapping[str, str]) -> dict[str, str]:
    """Return the module of each node that OpenVINO executes, where it tells.

    A node is made of several operators, whose names it keeps: its module is the one around them, or
    where the first tells none (a convolution with its normalisation in it), around the others'.
    What was put behind a slash, or behind a value's name, is not of the model. `layers` has the
    module of each operator, and of each value, of what was converted.
    """
    found = {}
    for node in executed.get_ordered_ops():
        originals = node.get_rt_info()["originalLayersNames"].astype(str).split(",")
        names = [_MADE_OF_A_VALUE.sub("", name.partition("/")[0]) for name in originals]
        if known := [layers[name] for name in names if name in layers]:
            module = base.common_module(known)
            around = module.rpartition(".")[0]
            found[node.get_friendly_name()] = module if names[0] in layers else around
    return found


def _inside(layers: Mapping[str, str]) -> dict[str, str]:
    """Name modules as the model does that lies in a `Flattened` one."""
    return {name: path.removeprefix("module").removeprefix(".") for name, path in layers.items()}


def _products(executed: Any) -> Iterator[Product]:
    """Yield what multiplies in the graph that OpenVINO executes.

    https://docs.openvino.ai: `CompiledModel.get_runtime_model`; weights are constants in it.
    """
    for node in executed.get_ordered_ops():
        told = node.get_rt_info()
        kind = KINDS.get(told["layerType"].astype(str))
        if kind is None:
            continue
        precision = told["runtimePrecision"].astype(str)
        out = prod(node.get_output_shape(0))
        given, other = (list(node.input(i).get_shape()) for i in (0, 1))
        if len(other) > len(given):  # weights of a grouped convolution: (groups, out, in, …)
            other = other[1:]
        each = prod(other[1:]) if kind == "convolution" else given[-1]
        yield Product(kind, FORMATS.get(precision, precision), out * each)
