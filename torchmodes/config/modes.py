"""Modes, how a model is executed: the options of each engine in the configuration.

What is known of an engine without importing PyTorch is in its section; the rest is in its module,
``torchmodes/workloads/modes/{engine}.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from torchmodes.config.base import (
    Count,
    Options,
    Precision,
    Reference,
    Section,
    by_tag,
    known_or_reference,
)

CacheKind = Literal["dynamic", "static"]
CACHE = (
    "generation: keys and values in memory that grows (dynamic), or that has room for all positions"
    " from the beginning (static)"
)

BASELINE_MODE = "eager"
BASELINE_PRECISION: Precision = "fp32"

CUSTOM_OPERATORS = "custom-operators"
"""The FX pass that needs the compiled operators."""

FUSE_CONV_BN = "fuse-conv-bn"
"""The FX pass that folds batch norms into the convolutions before them."""


PASSES = (FUSE_CONV_BN, CUSTOM_OPERATORS)


class NamedLook(NamedTuple):
    """How a mode of this name is drawn, in the hues and lines of `torchmodes.report.style`."""

    mode: str
    hue: str
    marker: str
    line: str


class ModeSection(Section):
    """The options of a mode, and what the workflow must know of its engine.

    Attributes
    ----------
    trains
        Whether the engine can execute an optimiser step.
    generates
        Whether it can execute a step of generating text: a module from tensors to tensors.
    threads_at_call
        Whether it asks for PyTorch's number of threads at each call. Others fix it when they
        compile or open a session, so that one process cannot compare two numbers.
    recomputes
        Whether its training steps compute activations again in the backward pass where the model
        asks for it (torch.utils.checkpoint): a graph may have no operator for that.
    packages
        The distributions that it needs beside PyTorch: another version makes results stale.
    environment
        Its file in ``envs/``.
    looks
        How modes with a name from ``config.yaml`` or the presets are drawn. The look of a mode
        with another name follows from the digest of its name.
    """

    engine: str
    trains: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    threads_at_call: ClassVar[bool] = False
    recomputes: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[str] = "torch"
    looks: ClassVar[tuple[NamedLook, ...]] = ()

    def all_packages(self) -> tuple[str, ...]:
        """Return the `packages`, and those that the options ask for.

        One that does not exist is never installed.
        """
        return self.packages

    def needs_compiler(self) -> bool:
        """Whether the code that TorchInductor writes is compiled."""
        return False

    def uses_custom_operators(self) -> bool:
        """Whether it needs the shared library of the custom operators."""
        return False

    def has_static_cache(self) -> bool:
        """Whether, generating text, it keeps keys and values in memory of one size."""
        return getattr(self, "cache", "static") == "static"


class EagerMode(ModeSection):
    """Plain PyTorch."""

    trains = True
    generates = True
    threads_at_call = True
    looks = (NamedLook("eager", "baseline", "o", "solid"),)

    engine: Literal["eager"]
    context: Literal["inference_mode", "no_grad", "grad"] = Field(
        "inference_mode", description="inference: how a call treats gradients"
    )
    channels_last: bool = Field(False, description="weights and images in the memory format NHWC")
    autocast: bool = Field(
        False, description="bf16, fp16: use torch.autocast; the weights stay in fp32"
    )
    cache: CacheKind = Field("dynamic", description=CACHE)


BACKEND_PACKAGES = {
    "openxla": "torch_xla",
    "tensorrt": "torch-tensorrt",
    "tvm": "apache-tvm",
}
"""The distributions of those backends of torch.compile that have another name."""


class CompileMode(ModeSection):
    """torch.compile."""

    trains = True
    generates = True
    looks = (
        NamedLook("inductor", "blue", "s", "solid"),
        NamedLook("inductor-step", "sky", "D", "dashed"),
    )

    engine: Literal["compile"]
    backend: str = Field("inductor", description="a backend of torch.compile")
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = (
        Field("default", description="torch.compile(mode=…)")
    )
    dynamic: bool | None = Field(None, description="torch.compile(dynamic=…); null: automatic")
    fullgraph: bool = Field(False, description="fail at a graph break instead of going on")
    scope: Literal["model", "step"] = Field(
        "model", description="training: compile the model, or the whole optimiser step"
    )
    freezing: bool = Field(False, description="inference with inductor: weights become constants")
    after: Literal["trace", "export"] | None = Field(
        None,
        description="inference: compile the result of torch.jit.trace or torch.export; null: the"
        " model itself",
    )
    fallback: list[str] = Field(
        [],
        description="inference: backends to try in turn when one fails; the record names the one"
        " that was used",
    )
    cache: CacheKind = Field("static", description=CACHE)

    def all_packages(self) -> tuple[str, ...]:
        """Return the distributions of the backends; most of them come with PyTorch."""
        return tuple(BACKEND_PACKAGES.get(name, name) for name in self.backends())

    def needs_compiler(self) -> bool:
        """Whether one of the backends is TorchInductor."""
        return "inductor" in self.backends()

    def backends(self) -> list[str]:
        """Return the backends to try, in turn."""
        return [self.backend, *self.fallback]


class FxMode(ModeSection):
    """torch.fx.symbolic_trace, then graph passes."""

    trains = True
    recomputes = False
    threads_at_call = True
    looks = (
        NamedLook("fx", "green", "^", "solid"),
        NamedLook("fx-custom-op", "gold", "v", "dashed"),
    )

    engine: Literal["fx"]
    passes: list[Annotated[str, known_or_reference("pass", PASSES)]] = Field(
        [],
        description="`fuse-conv-bn`, `custom-operators`, or path/to/file.py:function, which takes"
        " a GraphModule and returns one",
    )

    def uses_custom_operators(self) -> bool:
        """Whether a pass needs them."""
        return CUSTOM_OPERATORS in self.passes


class TorchScriptMode(ModeSection):
    """torch.jit."""

    trains = True
    generates = True
    recomputes = False
    threads_at_call = True
    looks = (
        NamedLook("torchscript", "vermilion", "P", "solid"),
        NamedLook("trace-optimized", "vermilion", "X", "dashed"),
    )

    engine: Literal["torchscript"]
    method: Literal["script", "trace"] = Field("script", description="torch.jit.script or trace")
    freeze: bool = Field(False, description="inference: torch.jit.freeze, weights become constants")
    optimize_for_inference: bool = Field(
        False, description="inference: torch.jit.optimize_for_inference, which freezes too"
    )


class ExportMode(ModeSection):
    """torch.export; inference."""

    threads_at_call = True
    generates = True

    engine: Literal["export"]
    strict: bool = Field(
        False, description="trace the Python code with TorchDynamo instead of running it"
    )


class AotInductorMode(ModeSection):
    """torch.export, compiled ahead of time by AOTInductor; inference."""

    generates = True
    looks = (NamedLook("aotinductor", "indigo", "s", "short"),)

    engine: Literal["aotinductor"]
    max_autotune: bool = Field(False, description="try several kernels for matrix products")

    def needs_compiler(self) -> bool:
        """Whether there is anything to compile: always."""
        return True


CalibrationBatches = Annotated[
    Count,
    Field(
        description="static int8: batches of inputs for calibration; the output is judged on others"
    ),
]


class OnnxRuntimeMode(ModeSection):
    """torch.onnx.export, executed by ONNX Runtime; inference."""

    generates = True
    packages = ("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13")
    environment = "onnx"
    looks = (NamedLook("onnxruntime", "pink", "h", "solid"),)

    engine: Literal["onnxruntime"]
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="execution provider; auto: that of the case's device"
    )
    opset: int | None = Field(
        None, description="ONNX operator set; null: the exporter's default", ge=18
    )
    quantization: Literal["static", "dynamic"] = Field(
        "static",
        description="int8: activation scales are calibrated beforehand (static), or computed at"
        " each call (dynamic), which ONNX Runtime does only for matrix products",
    )
    calibration_batches: CalibrationBatches = 8


class OpenVinoMode(ModeSection):
    """OpenVINO; inference on a CPU. For int8 it runs the model that ONNX Runtime calibrated."""

    generates = True
    packages = ("openvino", "onnx", "onnxscript", "onnxruntime")
    environment = "onnx"
    looks = (NamedLook("openvino", "brown", ">", "solid"),)

    engine: Literal["openvino"]
    calibration_batches: CalibrationBatches = 8


class BatchProfile(Section):
    """Batch sizes that one TensorRT engine accepts; it is tuned for the case's own."""

    min: Count = Field(1, description="smallest batch size")
    max: Count = Field(description="largest batch size")

    @model_validator(mode="after")
    def _ordered(self) -> BatchProfile:
        if self.min >= self.max:
            raise ValueError(f"min ({self.min}) must be less than max ({self.max})")
        return self


class TensorRtMode(ModeSection):
    """Torch-TensorRT, installed separately (docs/tensorrt.md); inference on CUDA."""

    packages = ("torch-tensorrt", "tensorrt-cu13")
    environment = "tensorrt"
    looks = (NamedLook("tensorrt", "teal", "D", "solid"),)

    engine: Literal["tensorrt"]
    frontend: Literal["dynamo", "torch_compile"] = Field(
        "dynamo", description="compile ahead of time (dynamo), or as a backend of torch.compile"
    )
    half: Literal["weights", "autocast"] = Field(
        "weights",
        description="bf16, fp16: convert the weights, or let Torch-TensorRT choose (autocast)",
    )
    batch_profile: BatchProfile | None = Field(
        None, description="dynamo: batch sizes to accept; null: only the case's own"
    )
    min_block_size: Count = Field(
        5, description="fewest operators that get a TensorRT engine of their own"
    )
    optimization_level: int | None = Field(
        None,
        description="level of TensorRT's builder, from 0 (builds fastest) to 5 (runs fastest)",
        ge=0,
        le=5,
    )

    @model_validator(mode="after")
    def _possible(self) -> TensorRtMode:
        if self.batch_profile and self.frontend == "torch_compile":
            raise ValueError("batch_profile needs `frontend: dynamo`")
        return self


class QuantizeMode(ModeSection):
    """Layers in fewer than 16 bits; inference. Use it with the precision int8, int4 or fp8."""

    threads_at_call = True
    generates = True
    packages = ("torchao",)
    looks = (NamedLook("int8-dynamic", "violet", "<", "solid"),)

    engine: Literal["quantize"]
    method: Literal["dynamic", "static", "weight-only"] = Field(
        "dynamic",
        description="dynamic: weights and activations of linear layers, scaled at each call;"
        " static: of convolutions too, with calibrated scales (PT2E); weight-only: weights of"
        " linear layers alone",
    )
    library: Literal["torch", "torchao"] = Field(
        "torch", description="torch.ao.quantization (CPU, dynamic) or torchao"
    )
    compile: bool = Field(
        False, description="compile the result with torch.compile, as torchao recommends"
    )
    calibration_batches: CalibrationBatches = 8
    cache: CacheKind = Field("dynamic", description=CACHE)

    @model_validator(mode="after")
    def _possible(self) -> QuantizeMode:
        if self.library == "torch" and self.method != "dynamic":
            raise ValueError(f"method {self.method} needs `library: torchao`")
        if self.method == "static" and not self.compile:
            raise ValueError("method static needs `compile: true`: TorchInductor has its kernels")
        if self.library == "torch" and self.compile:
            raise ValueError("compile needs `library: torchao`; torch.compile skips torch's int8")
        return self

    def needs_compiler(self) -> bool:
        """Whether the result is compiled."""
        return self.compile


class UserMode(ModeSection):
    """An engine of yours."""

    trains = True
    environment = "onnx"

    engine: Literal["user"]
    factory: Reference = Field(
        description="path/to/file.py:prepare; prepare(model, inputs, **options) returns a callable"
    )
    options: Options = Field({}, description="keyword arguments for the factory")
    own_threads: bool = Field(
        True,
        description="whether it may compute with threads that are not PyTorch's; false lets the"
        " two sides take turns faster, which makes a run more precise",
    )


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
ENGINES: dict[str, type[ModeSection]] = by_tag(Mode)
ENGINES_THAT_TRAIN = tuple(name for name, section in ENGINES.items() if section.trains)
ENGINES_THAT_GENERATE = tuple(name for name, section in ENGINES.items() if section.generates)
_ABLE = {
    "training": ("train", ENGINES_THAT_TRAIN),
    "generation": ("generate", ENGINES_THAT_GENERATE),
}
"""Of tasks that not every engine can do: the verb, and the engines that can."""


def cannot_do(engine: str, task: str) -> str | None:
    """Say that an engine cannot do a task, and which can, or return None."""
    verb, engines = _ABLE.get(task, ("", tuple(ENGINES)))
    return None if engine in engines else f"cannot {verb}; engines that can: {', '.join(engines)}"


def read_mode(options: Mapping[str, Any]) -> ModeSection:
    """Read the section of a mode from the parameters of a job."""
    return ENGINES[options["engine"]].model_validate(options)


def engine_module(engine: str) -> str:
    """Name the module of an engine."""
    return f"torchmodes.workloads.modes.{engine}"


def engine_class(engine: str) -> str:
    """Name the class of an engine in its module: where the section is `FxMode`, ``FxEngine``."""
    return f"{ENGINES[engine].__name__.removesuffix('Mode')}Engine"
