"""Torch-TensorRT, where it is installed (docs/tensorrt.md): written to the 2.14 API.

Its engines are strongly typed: they compute in the number formats of the module they are built
from, and an argument that asks for others is silently ignored.
"""

from __future__ import annotations

import importlib
import operator
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree

from torchmodes.config.modes import BatchProfile, TensorRtMode
from torchmodes.planning.cases import Case
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.batches import vary
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.export import capture, named_by_forward
from torchmodes.workloads.modes.precision import HALF
from torchmodes.workloads.structures import Inputs, Structure

INSTALL = "install it as docs/tensorrt.md says: its libraries come from NVIDIA's index"


class TensorRtEngine(base.Engine):
    """Runs TensorRT engines, and PyTorch wherever Torch-TensorRT has no converter."""

    options: TensorRtMode
    build_s: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.graphs: list[nn.Module] = []

    @property
    def lowers_precision(self) -> bool:
        """Torch-TensorRT's autocast chooses what to lower in a module that comes in fp32."""
        return self.options.half == "autocast"

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Ask for CUDA and the package, and refuse what it would silently leave out."""
        if case.device != "cuda":
            return base.Unsupported(
                f"TensorRT runs on NVIDIA GPUs, not on {case.device}", "run the case on cuda"
            )
        if self.options.frontend == "torch_compile" and self._autocast_type(case.precision):
            return base.Unsupported(
                "Torch-TensorRT's torch.compile backend ignores autocast",
                "use half: weights, or frontend: dynamo",
            )
        profile = self.options.batch_profile
        if profile and not profile.min <= case.batch_size <= profile.max:
            return base.Unsupported(
                f"batch_profile ends at {profile.min} and {profile.max}: the engine would"
                f" not accept a batch of {case.batch_size}",
                "widen batch_profile",
            )
        if find_spec("torch_tensorrt") is None:
            return base.Unsupported("torch_tensorrt is not installed", INSTALL)
        try:
            importlib.import_module("torch_tensorrt")
        except Exception as error:  # noqa: BLE001 - a plain Exception where libraries are missing
            return base.Unsupported(
                f"torch_tensorrt cannot be imported ({reason_of(error)})", INSTALL
            )
        return None

    def _autocast_type(self, precision: str) -> torch.dtype | None:
        return HALF.get(precision) if self.options.half == "autocast" else None

    def settings(self) -> dict[str, Any]:
        """Return Torch-TensorRT's compilation settings."""
        settings: dict[str, Any] = {
            "disable_tf32": self.precision != "tf32",
            "min_block_size": self.options.min_block_size,
            "optimization_level": self.options.optimization_level,
            # By default a file that all processes share: a cold build would not be cold.
            "timing_cache_path": str(self.directory / "timing_cache.bin"),
            "cache_built_engines": False,
            "reuse_cached_engines": False,
            # Or the torch.compile backend would run PyTorch in the failed engine's place.
            "pass_through_build_failures": True,
        }
        if dtype := self._autocast_type(self.precision):
            settings |= {"enable_autocast": True, "autocast_low_precision_type": dtype}
        return settings

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Build the engines, or have torch.compile build them at the first call."""
        if self.options.frontend == "torch_compile":
            return torch.compile(
                module, backend=self._backend, dynamic=False, options=self.settings()
            )
        return self._build(module, inputs)

    def _backend(self, graph: fx.GraphModule, inputs: list[Any], **options: Any) -> Any:
        """Build the engines of one of TorchDynamo's graphs, and remember what was built."""
        backend = importlib.import_module("torch_tensorrt.dynamo.backend").torch_tensorrt_backend
        start = time.perf_counter()
        built = backend(graph, inputs, **options)
        self.build_s = (self.build_s or 0.0) + time.perf_counter() - start
        if isinstance(built, nn.Module):
            self.graphs.append(built)
        return built

    def _build(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        if vary(self.batches):
            raise base.Refused("an engine of TensorRT is built for one shape here", base.ONE_SHAPE)
        torch_tensorrt = importlib.import_module("torch_tensorrt")
        given = {key: value for key, value in inputs.kwargs.items() if value is not None}
        inputs = Inputs(inputs.args, given)
        shapes, profile = None, self.options.batch_profile
        if profile:
            inputs = at_least_two(inputs)
            shapes = dynamic_batch(module, inputs, smallest=profile.min, largest=profile.max)
        self.example, self.shapes = inputs, shapes
        program = capture(module, inputs, dynamic_shapes=shapes)
        self.returned = Structure.of_output(program)
        args, kwargs = inputs.args, inputs.kwargs
        if profile:
            self.made["batch_profile"] = {**profile.model_dump(), "opt": batch_of(inputs)}
            args, kwargs = self._with_profile(profile, torch_tensorrt.Input)
        start = time.perf_counter()
        built = torch_tensorrt.dynamo.compile(
            program, arg_inputs=list(args), kwarg_inputs=kwargs, **self.settings()
        )
        self.build_s = time.perf_counter() - start
        self.graphs.append(built)
        return built

    def _with_profile(self, profile: BatchProfile, describe: Callable[..., Any]) -> tuple[Any, Any]:
        """Describe each input to Torch-TensorRT by its smallest, best and largest shape."""
        batch = batch_of(self.example)

        def described(tensor: torch.Tensor) -> Any:
            if not has_batch(tensor, batch):
                return tensor
            rest = tuple(tensor.shape[1:])
            return describe(
                min_shape=(profile.min, *rest),
                opt_shape=(batch, *rest),
                max_shape=(profile.max, *rest),
                dtype=tensor.dtype,
            )

        example = self.example.args, self.example.kwargs
        return _pytree.tree_map_only(torch.Tensor, described, example)

    def stats(self) -> dict[str, Any]:
        """Tell the engines, their bytes, and the operators that were left to PyTorch."""
        timing_cache = self.directory / "timing_cache.bin"
        stats: dict[str, Any] = {
            **self._built(),
            **self.made,
            "build_s": self.build_s,
            "timing_cache_bytes": timing_cache.stat().st_size if timing_cache.exists() else None,
            "torch_tensorrt": importlib.import_module("torch_tensorrt").__version__,
        }
        if not stats["engines"]:
            stats["no_effect"] = "Torch-TensorRT built no engine: PyTorch ran every operator"
        return stats

    def _built(self) -> dict[str, Any]:
        engines = [engine for graph in self.graphs for engine in engines_of(graph)]
        return {
            "graphs": len(self.graphs),
            "engines": len(engines),
            "engine_bytes": sum(len(engine.serialized_engine or b"") for engine in engines),
            "operators_left_to_pytorch": sum(map(count_left, self.graphs)),
        }

    def save(self, folder: Path) -> list[Path]:
        """Save the program with its engines, for `torch_tensorrt.load(path).module()`.

        What torch.compile built cannot be saved.
        """
        if self.options.frontend == "torch_compile":
            return []
        path = folder / "model.pt2"
        importlib.import_module("torch_tensorrt").save(
            self.graphs[0],
            str(path),
            arg_inputs=list(self.example.args),
            kwarg_inputs=self.example.kwargs,
            dynamic_shapes=self.shapes,
        )
        self.made |= self._built()  # engines are no modules of the program that is loaded
        return [path]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Load the program with its engines."""
        torch_tensorrt = importlib.import_module("torch_tensorrt")
        return torch_tensorrt.load(str(folder / "model.pt2")).module()


def batch_of(inputs: Inputs) -> int:
    """Return the batch size: the first dimension of the first tensor."""
    return inputs.tensors()[0].shape[0]


def has_batch(tensor: torch.Tensor, batch: int) -> bool:
    """Whether a tensor's first dimension is the batch."""
    return tensor.dim() > 0 and tensor.shape[0] == batch


def at_least_two(inputs: Inputs) -> Inputs:
    """Repeat a batch of one: torch.export takes a dimension of size 1 for a constant."""
    if batch_of(inputs) > 1:
        return inputs

    def twice(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor]) if has_batch(tensor, 1) else tensor

    return inputs.map(twice)


def dynamic_batch(
    module: nn.Module, inputs: Inputs, *, smallest: int, largest: int
) -> dict[str, Any]:
    """Return the `dynamic_shapes` for torch.export in which the batch size, above 1, is free."""
    batch, size = torch.export.Dim("batch", min=smallest, max=largest), batch_of(inputs)
    return named_by_forward(
        module, inputs, lambda tensor: {0: batch} if has_batch(tensor, size) else None
    )


def engines_of(graph: nn.Module) -> list[Any]:
    """Return the modules of a compiled graph that run a TensorRT engine."""
    return [part for part in graph.modules() if type(part).__name__ == "TorchTensorRTModule"]


def count_left(graph: nn.Module) -> int:
    """Count the operators of a compiled graph that PyTorch executes."""
    return sum(
        node.op == "call_function" and node.target is not operator.getitem
        for part in graph.modules()
        if isinstance(part, fx.GraphModule)
        for node in part.graph.nodes
    )
