"""How it is executed: a mode of each engine, as the configuration describes it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from torchmodes.config.base import REFERENCE, Count, Options, Precision, Reference, Section
from torchmodes.config.faults import meant

BASELINE_MODE = "eager"
BASELINE_PRECISION: Precision = "fp32"

CUSTOM_OPERATORS = "custom-operators"
"""The FX pass that needs the compiled operators."""

FUSE_CONV_BN = "fuse-conv-bn"
"""The FX pass that folds batch norms into the convolutions before them."""


def _is_pass(given: str) -> str:
    known = (FUSE_CONV_BN, CUSTOM_OPERATORS)
    if given not in known and not re.fullmatch(REFERENCE, given):
        raise ValueError(
            f"{given!r} is neither a pass nor path/to/file.py:function{meant(given, known)}"
        )
    return given


class EagerMode(Section):
    """Plain PyTorch."""

    engine: Literal["eager"]
    context: Literal["inference_mode", "no_grad", "grad"] = Field(
        "inference_mode", description="inference: what a call does about gradients"
    )
    channels_last: bool = Field(False, description="weights and images in NHWC")
    autocast: bool = Field(
        False, description="bf16, fp16: by torch.autocast, with weights that stay in fp32"
    )


class CompileMode(Section):
    """torch.compile."""

    engine: Literal["compile"]
    backend: str = Field("inductor", description="a name torch.compile knows")
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = (
        Field("default", description="torch.compile(mode=…)")
    )
    dynamic: bool | None = Field(None, description="torch.compile(dynamic=…); null: automatic")
    fullgraph: bool = Field(False, description="fail at a graph break instead of going on")
    scope: Literal["model", "step"] = Field(
        "model", description="training: compile the model, or the whole optimiser step"
    )
    freezing: bool = Field(False, description="inference, inductor: weights become constants")
    after: Literal["trace", "export"] | None = Field(
        None, description="inference: compile what torch.jit.trace or torch.export made"
    )
    fallback: list[str] = Field(
        [], description="inference: backends to try in turn where one fails; the record tells which"
    )


class FxMode(Section):
    """torch.fx.symbolic_trace, then graph passes."""

    engine: Literal["fx"]
    passes: list[Annotated[str, AfterValidator(_is_pass)]] = Field(
        [],
        description="`fuse-conv-bn`, `custom-operators`, or path/to/file.py:function, which takes"
        " a GraphModule and returns one",
    )


class TorchScriptMode(Section):
    """torch.jit."""

    engine: Literal["torchscript"]
    method: Literal["script", "trace"] = Field("script", description="torch.jit.script or trace")
    freeze: bool = Field(False, description="inference: torch.jit.freeze, weights become constants")
    optimize_for_inference: bool = Field(
        False, description="inference: torch.jit.optimize_for_inference, which freezes too"
    )


class ExportMode(Section):
    """torch.export; inference."""

    engine: Literal["export"]
    strict: bool = Field(False, description="trace Python by TorchDynamo instead of running it")


class AotInductorMode(Section):
    """torch.export, compiled ahead of time by AOTInductor; inference."""

    engine: Literal["aotinductor"]
    max_autotune: bool = Field(False, description="try several kernels for matrix products")


class OnnxRuntimeMode(Section):
    """torch.onnx.export, executed by ONNX Runtime; inference."""

    engine: Literal["onnxruntime"]
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="execution provider; auto: that of the case's device"
    )
    opset: int | None = Field(None, description="ONNX operator set; null: the exporter's", ge=18)


class OpenVinoMode(Section):
    """OpenVINO, installed apart; inference on a CPU."""

    engine: Literal["openvino"]


class BatchProfile(Section):
    """Batch sizes that one TensorRT engine accepts; the case's own is what it is tuned for."""

    min: Count = Field(1, description="smallest batch size")
    max: Count = Field(description="largest batch size")

    @model_validator(mode="after")
    def _ordered(self) -> BatchProfile:
        if self.min >= self.max:
            raise ValueError(f"min ({self.min}) must be less than max ({self.max})")
        return self


class TensorRtMode(Section):
    """Torch-TensorRT, installed apart (docs/tensorrt.md); inference on CUDA."""

    engine: Literal["tensorrt"]
    frontend: Literal["dynamo", "torch_compile"] = Field(
        "dynamo", description="ahead of time, or as a backend of torch.compile"
    )
    half: Literal["weights", "autocast"] = Field(
        "weights", description="bf16, fp16: lower the weights, or let Torch-TensorRT choose"
    )
    batch_profile: BatchProfile | None = Field(
        None, description="dynamo: batch sizes to accept; null: that of the case alone"
    )
    min_block_size: Count = Field(5, description="fewest operators worth an engine of their own")
    optimization_level: int | None = Field(
        None, description="TensorRT's builder: 0 builds fastest, 5 runs fastest", ge=0, le=5
    )

    @model_validator(mode="after")
    def _possible(self) -> TensorRtMode:
        if self.batch_profile and self.frontend == "torch_compile":
            raise ValueError("batch_profile needs `frontend: dynamo`")
        return self


class QuantizeMode(Section):
    """Linear layers in int8; inference. Ask for the precision int8."""

    engine: Literal["quantize"]
    method: Literal["dynamic", "weight-only"] = Field(
        "dynamic", description="int8 weights and activations, or int8 weights alone"
    )
    library: Literal["torch", "torchao"] = Field(
        "torch", description="torch.ao.quantization (CPU, dynamic) or torchao"
    )
    compile: bool = Field(False, description="torch.compile the result, as torchao advises")

    @model_validator(mode="after")
    def _possible(self) -> QuantizeMode:
        if self.library == "torch" and self.method == "weight-only":
            raise ValueError("method weight-only needs `library: torchao`")
        if self.library == "torch" and self.compile:
            raise ValueError("compile needs `library: torchao`; torch.compile skips torch's int8")
        return self


class UserMode(Section):
    """An engine of yours."""

    engine: Literal["user"]
    factory: Reference = Field(
        description="path/to/file.py:prepare; prepare(model, inputs, **options) returns a callable"
    )
    options: Options = Field({}, description="keyword arguments for the factory")


Mode = Annotated[
    EagerMode
    | CompileMode
    | FxMode
    | TorchScriptMode
    | ExportMode
    | AotInductorMode
    | OnnxRuntimeMode
    | OpenVinoMode
    | TensorRtMode
    | QuantizeMode
    | UserMode,
    Field(discriminator="engine"),
]
ENGINES = [
    get_args(mode.model_fields["engine"].annotation)[0] for mode in get_args(get_args(Mode)[0])
]
ENGINES_THAT_TRAIN = ("eager", "compile", "fx", "torchscript")
