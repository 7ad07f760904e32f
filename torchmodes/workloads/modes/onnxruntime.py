"""ONNX Runtime: torch.onnx.export, executed by one of its providers."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from torchmodes.config.modes import OnnxRuntimeMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.executed import Product, count_executed
from torchmodes.workloads.modes.onnx_files import (
    arrays,
    capture_for_onnx,
    node_layers,
    real,
    write,
    write_calibrated,
    write_scaled_at_each_call,
)
from torchmodes.workloads.modes.precision import unsupported_int8
from torchmodes.workloads.structures import Inputs, Structure, Take, tensors_taken

MODEL = "model.onnx"
"""The file; its weights lie beside it, with ``.data`` behind the name."""
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
ELEMENTS = {
    torch.float32: 1,
    torch.uint8: 2,
    torch.int8: 3,
    torch.uint16: 4,
    torch.int16: 5,
    torch.int32: 6,
    torch.int64: 7,
    torch.bool: 9,
    torch.float16: 10,
    torch.float64: 11,
    torch.uint32: 12,
    torch.uint64: 13,
    torch.bfloat16: 16,
    torch.float8_e4m3fn: 17,
    torch.float8_e4m3fnuz: 18,
    torch.float8_e5m2: 19,
    torch.float8_e5m2fnuz: 20,
}
"""Numbers of the element types in ONNX (``TensorProto.DataType``)."""
TYPES = frozenset({*ELEMENTS, torch.complex64, torch.complex128})
"""What can be given: torch.onnx.export writes complex numbers as pairs of real ones."""
NOT_RETURNED = {dtype for dtype in ELEMENTS if str(dtype).startswith("torch.float8")}
"""Element types that ONNX Runtime's DLPack does not know."""


class OnnxRuntimeEngine(base.Engine):
    """Runs an ONNX file; tensors go in by their addresses and come out by DLPack, uncopied."""

    options: OnnxRuntimeMode
    one_shape = True
    own_threads = True
    precisions = base.Engine.precisions | {"int8"}
    takes = TYPES

    example: Inputs
    session: Any
    take: Take
    loaded_from: Path | None = None
    export_s: float | None = None
    session_s: float

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse devices without a provider, and what a provider would do elsewhere."""
        if missing := base.not_installed("onnx", "onnxscript", "onnxruntime"):
            return missing
        if case.device == "mps":
            return base.Unsupported(
                "ONNX Runtime has no provider for MPS", "run the case on cpu or cuda"
            )
        wanted = self._provider(case.device)
        if (wanted == "cpu") != (case.device == "cpu"):
            return base.Unsupported(
                f"provider: {wanted} does not run on {case.device}", "use provider: auto"
            )
        if case.device == "cpu" and case.precision in ("bf16", "fp16"):
            return base.Unsupported(
                f"ONNX Runtime's CPU provider has no {case.precision} kernels for most operators",
                "use fp32, or run the case on cuda",
            )
        if case.precision == "int8" and (refused := unsupported_int8(case, "ONNX Runtime")):
            return refused
        return self._missing_provider(wanted)

    def _provider(self, device: str) -> str:
        provider = self.options.provider
        return device if provider == "auto" else provider

    def _missing_provider(self, wanted: str) -> base.Unsupported | None:
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if PROVIDERS[wanted] in available:
            return None
        return base.Unsupported(
            f"the installed onnxruntime has no {PROVIDERS[wanted]}",
            "pip uninstall onnxruntime; pip install onnxruntime-gpu"
            + (" 'tensorrt-cu13<11'" if wanted == "tensorrt" else ""),
        )

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Export to a private folder, check the file, put it into int8, open a session."""
        start = time.perf_counter()
        captured = capture_for_onnx(module, inputs, self.batches)
        self.returned = Structure.of_output(captured)
        self.refuse(self.returned.dtypes, "return", TYPES - NOT_RETURNED)
        if self.precision == "int8":
            exported = self.directory / "exported.onnx"
            opset = write(captured, exported, opset=self.options.opset, whole=True)
            if self.options.quantization == "dynamic":
                write_scaled_at_each_call(exported, self.model)
            else:
                batches = self.calibration_inputs(inputs, self.options.calibration_batches)
                write_calibrated(exported, batches, self.model)
        else:
            opset = write(captured, self.model, opset=self.options.opset)
        self.made["opset"] = opset
        self.export_s = time.perf_counter() - start
        return self._opened(inputs)

    def save(self, folder: Path) -> list[Path]:
        """Copy the ONNX file and its weights, and what TensorRT built of them."""
        for built in self._of_tensorrt(self.directory):
            shutil.copy(built, folder)
        return [Path(shutil.copy(path, folder)) for path in self._files()]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Open a session of the shipped file."""
        self.loaded_from = folder
        for built in self._of_tensorrt(folder):  # copied, for the provider may write into them
            shutil.copy(built, self.directory)
        return self._opened(inputs)

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return (self.loaded_from or self.directory) / MODEL

    def _files(self) -> list[Path]:
        """Return the ONNX file and that of its weights, if it has one."""
        weights = self.model.with_name(f"{MODEL}.data")
        return [self.model, weights] if weights.exists() else [self.model]

    @staticmethod
    def _of_tensorrt(folder: Path) -> list[Path]:
        """Return the provider's engines and what it needs to find them still good."""
        return [
            path for kind in ("engine", "profile", "timing") for path in folder.glob(f"*.{kind}")
        ]

    def _opened(self, inputs: Inputs) -> Callable[..., Any]:
        self.example, self.take = inputs, tensors_taken(inputs)
        device = inputs.tensors()[0].device
        start = time.perf_counter()
        if device.type == "cuda":
            call = self._on_cuda(device)
        else:
            self.session = self._open("cpu", {})
            call = self._calling(self.session, device, self.session.run_with_iobinding)
        self.session_s = time.perf_counter() - start
        return call

    def _open(
        self,
        provider: str,
        options: dict[str, str],
        *,
        rest: dict[str, str] | None = None,
        profiled: Literal["times", "shapes"] | None = None,
    ) -> Any:
        """Open a session that computes with `provider`, or raise.

        With `rest`, nodes that it does not take run on CUDA with these options, not on the CPU.
        One that is profiled writes down what each node does: its time, or, slower, the shapes of
        what it takes, weights included.
        """
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.inter_op_num_threads = 1
        # Its threads would wait for the next call by spinning, and slow the baseline's turn.
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if profiled:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(self.directory / "profile")
            if profiled == "shapes":
                settings.add_session_config_entry("session.disable_prepacking", "1")
        wanted = PROVIDERS[provider]
        providers: list[Any] = [(wanted, options)] if options else [wanted]
        if rest is not None:
            providers.append((PROVIDERS["cuda"], rest))
        session = onnxruntime.InferenceSession(self.model, settings, providers=providers)
        session.disable_fallback()
        if session.get_providers()[0] != wanted:
            raise RuntimeError(
                f"ONNX Runtime could not load {wanted} (its log says why) and would have run"
                f" {session.get_providers()[0]} instead"
            )
        return session

    def _calling(
        self, session: Any, device: torch.device, run: Callable[[Any], None]
    ) -> Callable[..., Any]:
        """Return a call that binds the tensors of a device by their addresses, and runs that."""
        inputs = [given.name for given in session.get_inputs()]
        outputs = [output.name for output in session.get_outputs()]
        kind, index = device.type, device.index or 0
        assert self.returned is not None
        take, returned = self.take, self.returned

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = [real(tensor).contiguous() for tensor in take(args, kwargs)]
            binding = session.io_binding()
            for name, tensor in zip(inputs, tensors, strict=True):
                element, shape = ELEMENTS[tensor.dtype], tuple(tensor.shape)
                binding.bind_input(name, kind, index, element, shape, tensor.data_ptr())
            for name in outputs:
                binding.bind_output(name, kind, index)
            run(binding)
            return joined(returned, [torch.from_dlpack(value) for value in binding.get_outputs()])

        return call

    def _on_cuda(self, device: torch.device) -> Callable[..., Any]:
        """Run on a stream that waits for PyTorch's and is waited for.

        PyTorch's default stream is 0, which ONNX Runtime takes for “none given”: hence a stream of
        its own, ordered by events instead of by waiting on the host.
        """
        from onnxruntime import RunOptions

        index = device.index or 0
        stream = torch.cuda.Stream(device)
        provider = self._provider("cuda")
        if provider == "tensorrt":
            # ONNX Runtime looks for TensorRT's libraries where the system has them; its Python
            # package loads those that lie inside it.
            with contextlib.suppress(ImportError):
                importlib.import_module("tensorrt")
        self.session = self._open(
            provider,
            self._cuda_options(provider, index, stream),
            rest=self._cuda_options("cuda", index, stream) if provider == "tensorrt" else None,
        )
        unsynchronised = RunOptions()
        unsynchronised.add_run_config_entry("disable_synchronize_execution_providers", "1")

        def run(binding: Any) -> None:
            current = torch.cuda.current_stream(device)
            stream.wait_stream(current)
            self.session.run_with_iobinding(binding, unsynchronised)
            current.wait_stream(stream)

        return self._calling(self.session, device, run)

    def _cuda_options(self, provider: str, index: int, stream: torch.cuda.Stream) -> dict[str, str]:
        """Return the provider's options; https://onnxruntime.ai/docs/execution-providers."""
        options = {"device_id": str(index), "user_compute_stream": str(stream.cuda_stream)}
        tf32 = self.precision == "tf32"
        if provider == "cuda":
            return options | {"use_tf32": "1" if tf32 else "0"}
        if not tf32:
            # The provider has no option for it; TensorRT's builder reads this variable.
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        return options | {
            "trt_fp16_enable": "1" if self.precision == "fp16" else "0",
            "trt_bf16_enable": "1" if self.precision == "bf16" else "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.directory),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(self.directory),
        }

    def stats(self) -> dict[str, Any]:
        """Tell operator set, sizes, threads, and how many nodes each provider computes."""
        nodes: Counter[str] = Counter()
        for part in self.session.get_provider_graph_assignment_info():
            nodes[part.ep_name] += len(part.get_nodes())
        stats: dict[str, Any] = self.made | {
            "file_bytes": {path.name: path.stat().st_size for path in self._files()},
            "provider": self.session.get_providers()[0],
            "nodes": dict(nodes),
            "intra_op_threads": self.session.get_session_options().intra_op_num_threads,
            "export_s": self.export_s,
            "session_s": self.session_s,
        }
        if engines := list(self.directory.glob("*.engine")):
            stats["engine_bytes"] = sum(path.stat().st_size for path in engines)
        if self.precision == "int8":
            stats |= count_executed(self._products(), "int8")
        if stats["provider"] not in nodes:
            stats["no_effect"] = f"{stats['provider']} took no node: {', '.join(nodes)} ran them"
        return stats

    def _products(self) -> list[Product]:
        """Run the example once in another session that writes down what each node computes."""
        session = self._open("cpu", {}, profiled="shapes")
        names = [given.name for given in session.get_inputs()]
        session.run(None, arrays(names, self.example))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        found = (_product(event["args"]) for event in events if event["cat"] == "Node")
        return [product for product in found if product is not None]

    def own_profiler(self) -> base.OwnProfiler | None:
        """Open another session that writes down each node's time; on CUDA PyTorch sees kernels."""
        if self.session.get_providers()[0] != PROVIDERS["cpu"]:
            return None
        session = self._open("cpu", {}, profiled="times")
        began: list[int] = []

        def run(binding: Any) -> None:
            began.append(time.time_ns())
            session.run_with_iobinding(binding)

        def finish() -> list[base.ExecutedCall]:
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            return executed_calls(events, began, node_layers(self.model))

        call = self._calling(session, torch.device("cpu"), run)
        return base.OwnProfiler("ONNX Runtime", call, finish)


def executed_calls(
    events: Sequence[dict[str, Any]], began: Sequence[int], layers: Mapping[str, str]
) -> list[base.ExecutedCall]:
    """Read the calls of ONNX Runtime's own trace; https://onnxruntime.ai/docs/performance.

    Its events have times in microseconds; calls began in nanoseconds since 1970.
    """
    runs = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: e["ts"])
    nodes = sorted((e for e in events if e["cat"] == "Node"), key=lambda e: e["ts"])
    return [
        base.ExecutedCall(
            start,
            tuple(
                base.ExecutedOperator(
                    kind=f"onnxruntime::{node['args']['op_name']}",
                    name=(name := node["name"].removesuffix("_kernel_time")),
                    start_s=(node["ts"] - run["ts"]) / 1e6,
                    seconds=node["dur"] / 1e6,
                    layer=layer_of(name, layers),
                )
                for node in nodes
                if run["ts"] <= node["ts"] < run["ts"] + run["dur"]
            ),
        )
        for start, run in zip(began, runs, strict=True)
    ]


def layer_of(name: str, layers: Mapping[str, str]) -> str | None:
    """Return the module of a node that ONNX Runtime executes, or None.

    A node that others were fused into keeps its name in front of a slash. A convolution in blocks
    of channels has the name of what it makes, together with the normalisation and activation in
    it: its module is the one around these.
    """
    if (whole := name.removesuffix("_nchwc")) != name:
        made_by = layers.get(whole)
        return None if made_by is None else made_by.rpartition(".")[0]
    return layers.get(name.partition("/")[0])


def _product(node: dict[str, Any]) -> Product | None:
    """Read what a profiled node multiplied; None of one that is no convolution or product."""
    name = node["op_name"]
    given = [next(iter(tensor.items())) for tensor in node["input_type_shape"]]
    made = [next(iter(tensor.items()))[1] for tensor in node["output_type_shape"]]
    if "Conv" in name:
        weights = next(shape for _, shape in given[1:] if len(shape) > 2)
        kind, each = "convolution", prod(weights[1:])
    elif "MatMul" in name or "Gemm" in name:
        kind, each = "matrix product", given[0][1][-1]
    else:
        return None
    low = any(kind.endswith("int8") for kind, _ in given)
    return Product(kind, "int8" if low else "fp32", each * prod(made[0]))


def joined(returned: Structure, found: list[torch.Tensor]) -> Any:
    """Put what a session returned together to what the module returns.

    Of its types ONNX has no complex ones, and DLPack brings truth values as bytes.
    """
    for i, dtype in enumerate(returned.dtypes):
        if dtype is torch.bool:
            found[i] = found[i].view(torch.bool)
        elif dtype.is_complex:
            found[i] = torch.view_as_complex(found[i])
    return returned.filled(found)
