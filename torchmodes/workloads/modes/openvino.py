"""OpenVINO, where it is installed: the exported program, compiled for the CPU."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.export import capture
from torchmodes.workloads.structures import Flattened, Inputs, returned_dtypes, tensors_taken

TYPES = frozenset(
    {
        torch.bool,
        torch.float16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint8,
    }
)
"""Types that OpenVINO has of those of NumPy, in whose arrays tensors are handed over."""


class Engine(base.Engine):
    """Runs OpenVINO's compiled model in fp32 on the case's threads."""

    own_threads = True

    precisions = frozenset({"fp32"})
    takes = TYPES

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """OpenVINO is not among the requirements, and serves Intel's and other CPUs."""
        if case.device != "cpu":
            return base.Unsupported(
                f"the engine openvino runs on the CPU, not on {case.device}",
                "run the case on cpu",
            )
        return base.not_installed("openvino")

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Export, convert and compile for latency."""
        openvino: Any = importlib.import_module("openvino")
        start = time.perf_counter()
        flattened, take = Flattened(module, inputs), tensors_taken(inputs)
        flat = [Inputs(tuple(batch.tensors())) for batch in (inputs, *self.batches)]
        program = capture(flattened, flat[0], flat[1:])
        self.refuse(returned_dtypes(program), "return", TYPES)
        self.model = openvino.convert_model(program)
        self.convert_s = time.perf_counter() - start
        start = time.perf_counter()
        self.compiled = openvino.compile_model(
            self.model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                # Without it a CPU with AMX would compute in bf16.
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        self.compile_s = time.perf_counter() - start
        request = self.compiled.create_infer_request()
        outputs = range(len(self.compiled.outputs))

        def call(*args: Any, **kwargs: Any) -> Any:
            tensors = take(args, kwargs)
            request.infer([tensor.numpy() for tensor in tensors], share_inputs=True)
            # A request reuses its memory, so what is kept of it is copied.
            return flattened.put_together(
                [torch.from_numpy(request.get_output_tensor(i).data).clone() for i in outputs]
            )

        return call

    def stats(self) -> dict[str, Any]:
        """Tell version, threads and times."""
        return {
            "openvino": importlib.import_module("openvino").__version__,
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "operators": len(self.model.get_ordered_ops()),
            "convert_s": self.convert_s,
            "compile_s": self.compile_s,
        }

    def artefacts(self) -> list[Path]:
        """Save the model as OpenVINO's pair of files, weights in fp32."""
        openvino: Any = importlib.import_module("openvino")
        path = self.directory / "model.xml"
        openvino.save_model(self.model, path, compress_to_fp16=False)
        return [path, path.with_suffix(".bin")]
