"""The configuration: what ``config.yaml`` may say, checked as a whole before anything runs.

Every fault is reported at once, each with its location and the nearest valid word. Importing this
module costs no PyTorch: Snakemake reads the configuration at every start.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from torchmodes.faults import InvalidConfig, located, meant

Task = Literal["training", "inference"]
Device = Literal["cpu", "cuda", "mps"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]
Weights = Literal["random", "pretrained"]

WEIGHTS = "random: drawn from the seed; pretrained: as published, from a folder or the cache"
BASELINE_MODE = "eager"
BASELINE_PRECISION: Precision = "fp32"
SYNTHETIC = "synthetic"
HOUSING_FEATURES = [
    "Avg. Area Income",
    "Avg. Area House Age",
    "Avg. Area Number of Rooms",
    "Avg. Area Number of Bedrooms",
    "Area Population",
]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
ModePair = Annotated[list[str], Field(min_length=2, max_length=2)]


class Section(BaseModel):
    """One section of the configuration: unknown keys and silent conversions are faults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, given: Any) -> Any:
        """Read numbers given as text: inside ``--config 'training={…}'`` Snakemake keeps text."""
        if not isinstance(given, Mapping):
            return given
        return {
            key: _read(value)
            if key in cls.model_fields and not _takes_text(cls.model_fields[key].annotation)
            else value
            for key, value in given.items()
        }


class Data(Section):
    """The house-price table and how it is split."""

    source: str = Field(
        SYNTHETIC, description="`synthetic`, or the path of a CSV file with a header"
    )
    rows: Count = Field(20_000, description="rows to generate; ignored for a CSV file", ge=100)
    features: list[str] = Field(
        HOUSING_FEATURES, description="numeric columns the model reads", min_length=1
    )
    target: str = Field("Price", description="numeric column the model predicts")
    validation: Share = Field(0.1, description="share of rows for validation")
    test: Share = Field(0.1, description="share of rows for the final figures")

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.target in self.features:
            raise ValueError(
                f"target {self.target!r} stands among the features too; remove it there"
            )
        if repeated := sorted({name for name in self.features if self.features.count(name) > 1}):
            raise ValueError(f"features lists {', '.join(repeated)} more than once")
        if self.validation + self.test > 0.9:
            raise ValueError("validation + test leave less than 10 % of the rows for training")
        if self.source == SYNTHETIC and [*self.features, self.target] != [
            *HOUSING_FEATURES,
            "Price",
        ]:
            raise ValueError("features and target can be chosen only with a CSV file as source")
        return self


class Training(Section):
    """Training of the house-price model, once per mode."""

    device: DeviceChoice = Field("auto", description="where to train")
    model: str = Field("house_price", description="a model of family mlp")
    modes: list[str] = Field(description="modes to train in", min_length=1)
    batch_size: Count = Field(2048, description="rows per optimiser step")
    epochs: Count = Field(60, description="passes over the training split")
    learning_rate: Positive = Field(0.01, description="Adam's step size")


class MlpModel(Section):
    """Multi-layer perceptron with ReLU on the table's features; one item is a row."""

    family: Literal["mlp"]
    hidden: list[Count] = Field([256, 256], description="units of each hidden layer", min_length=1)


class TorchvisionModel(Section):
    """An image classifier of torchvision; one item is an image."""

    family: Literal["torchvision"]
    name: str = Field(description="a name of torchvision.models, such as resnet50 or vit_b_16")
    weights: Weights = Field("random", description=WEIGHTS)
    image_size: Count = Field(224, description="height and width of an image, pixels")


class TransformersModel(Section):
    """A text model of transformers, on whole sequences; one item is a sequence of tokens."""

    family: Literal["transformers"]
    source: str = Field(
        description="a configuration name such as gpt2, a folder, or an identifier of the hub"
    )
    weights: Weights = Field("random", description=WEIGHTS)
    head: Literal[
        "base", "causal-lm", "masked-lm", "sequence-classification", "token-classification"
    ] = Field("base", description="what the output is: hidden states, or the logits of a head")
    sequence_length: Count = Field(128, description="tokens of a sequence")
    options: dict[str, Any] = Field({}, description="changes to the configuration, as n_layer: 2")


class UserModel(Section):
    """A model of yours; one item is whatever a batch counts."""

    family: Literal["user"]
    factory: str = Field(
        description="path/to/file.py:build; build() returns a torch.nn.Module",
        pattern=r"^.+\.py:[A-Za-z_]\w*$",
    )
    inputs: str = Field(
        description="path/to/file.py:inputs; inputs(batch_size) returns tensor, tuple or dict",
        pattern=r"^.+\.py:[A-Za-z_]\w*$",
    )
    options: dict[str, Any] = Field({}, description="keyword arguments for the factory")
    item: str = Field("item", description="what one element of a batch is: image, row, sequence")


Model = Annotated[
    MlpModel | TorchvisionModel | TransformersModel | UserModel, Field(discriminator="family")
]


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
    passes: list[str] = Field(
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
    factory: str = Field(
        description="path/to/file.py:prepare; prepare(model, inputs, **options) returns a callable",
        pattern=r"^.+\.py:[A-Za-z_]\w*$",
    )
    options: dict[str, Any] = Field({}, description="keyword arguments for the factory")


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
STUDIED_ENGINES = {"studies.inference_context": "eager", "studies.dynamic_shapes": "compile"}


class Grid(Section):
    """A block of cases: every combination of its lists."""

    task: Task = Field(description="one optimiser step, or one forward pass")
    models: list[str] = Field(description="names defined under `models`", min_length=1)
    modes: list[str] = Field(description="names defined under `modes`", min_length=1)
    precisions: list[Precision] = Field(["fp32"], description="number formats", min_length=1)
    batch_sizes: list[Count] = Field(description="items per call", min_length=1)
    devices: list[DeviceChoice] = Field(["auto"], description="where to run", min_length=1)


class Measurement(Section):
    """How a case is measured; `docs/measuring.md` explains each figure."""

    target_half_width: Share = Field(
        0.01, description="stop when the 95 % interval of the speed-up is ± this (relative)"
    )
    budget_s: Positive = Field(10.0, description="seconds of samples at the most, per case")
    warmup_budget_s: Positive = Field(5.0, description="seconds of warm-up at the most, per case")
    min_quads: Count = Field(10, description="quads (ABBA) to take at the least", ge=5)
    minimum_effect: Share = Field(
        0.01, description="the smallest speed-up that matters (relative); verdicts ignore less"
    )
    time_limit_s: Positive = Field(600.0, description="a case that takes longer is killed: failed")
    memory_limit_mb: Count | None = Field(
        None, description="a case with more resident memory is killed: failed; null: no limit"
    )
    flush_l2: bool = Field(False, description="CUDA: empty the L2 cache before each sample")
    start: Literal["auto", "fork", "fresh"] = Field(
        "auto", description="fork from a preloaded server, or a fresh interpreter per case"
    )


class Profile(Section):
    """Which cases are profiled, and torch.profiler's schedule."""

    cases: list[Grid] = Field([], description="blocks of cases to profile, as under `benchmark`")
    diffs: list[ModePair] = Field(
        [], description="pairs of modes whose profiles are compared, wherever both are profiled"
    )
    wait: int = Field(1, description="steps before the profiler starts", ge=0)
    warmup: int = Field(1, description="steps the profiler runs and discards", ge=0)
    active: Count = Field(3, description="steps recorded")
    with_stack: bool = Field(True, description="record Python call stacks (bigger traces)")
    compiled_kernels: bool = Field(
        False,
        description="name the kernels that TorchInductor generates for a CPU; compiles once more,"
        " for the profile alone",
    )


class Studies(Section):
    """Questions that one case cannot answer."""

    compile_cost: list[Grid] = Field(
        [], description="cases whose cold start is compared with one from a filled compile cache"
    )
    inference_context: list[Grid] = Field(
        [], description="eager modes whose context is grad or no_grad, against inference_mode"
    )
    batch_scaling: list[Grid] = Field(
        [], description="cases whose latency and throughput are followed over batch_sizes"
    )
    thread_scaling: list[Grid] = Field(
        [], description="cases measured with one thread against 2, 4, 8 … up to all cores"
    )
    dynamic_shapes: list[Grid] = Field(
        [],
        description="compiled modes called with changing batch sizes: every one up to the largest"
        " (inference), or a last, smaller batch (training)",
    )


class Config(Section):
    """The whole of ``config.yaml``."""

    seed: int = Field(42, description="seed of data, weights, splits and sample order", ge=0)
    strict: bool = Field(False, description="end with exit code 1 when a case failed or is wrong")
    base: str | None = Field(
        None, description="results folder of another run: reports/comparison.html compares with it"
    )
    deterministic: bool = Field(
        False, description="PyTorch's and cuDNN's deterministic algorithms alone; often slower"
    )
    data: Data
    models: dict[Name, Model] = Field(description="what is executed, by a name of your choice")
    modes: dict[Name, Mode] = Field(description="how it is executed, by a name of your choice")
    training: Training
    benchmark: list[Grid] = Field(description="blocks of cases to measure", min_length=1)
    profile: Profile
    studies: Studies
    measurement: Measurement


def _takes_text(annotation: Any) -> bool:
    """Whether text may stand somewhere in a value of this type."""
    if annotation is str or annotation is Any or isinstance(annotation, str):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True  # it reads its own values
    return any(map(_takes_text, get_args(annotation)))


def _read(value: Any) -> Any:
    """Read text, also in a list, as YAML does."""
    if isinstance(value, list):
        return [_read(member) for member in value]
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Check a configuration as read from YAML.

    Raises
    ------
    InvalidConfig
        With every fault: its location, what is wrong and the nearest valid word.
    """
    try:
        config, faults = Config.model_validate(dict(raw)), []
    except ValidationError as error:
        config, faults = None, [fault for e in error.errors() for fault in located(e, raw, Config)]
    faults += dangling_names(raw)
    if config is None or faults:
        raise InvalidConfig(faults)
    return config


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of ``config.yaml`` (shipped as ``config/schema.json``)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()


def dangling_names(raw: Mapping[str, Any]) -> list[str]:
    """Return a fault for each name of a mode or model that the configuration does not define.

    It reads the raw YAML, so that these faults are told together with those of the schema.
    """
    modes, models = _mapping(raw, "modes"), _mapping(raw, "models")
    training = _mapping(raw, "training")
    faults = []
    if _mapping(modes, BASELINE_MODE).get("engine") != "eager":
        faults.append(
            "modes: needs `eager: {engine: eager}`, against which every speed-up is measured"
        )
    trained = training.get("model", Training.model_fields["model"].default)
    mlps = [name for name, model in models.items() if _family(model) == "mlp"]
    if trained not in mlps:
        faults.append(
            f"training.model: no model of family mlp has the name {trained!r}"
            + meant(trained, mlps)
        )
    blocks: dict[str, Mapping[str, Any]] = {
        "training": {"task": "training", "modes": training.get("modes")}
    }
    blocks |= {f"benchmark[{i}]": b for i, b in enumerate(_blocks(raw.get("benchmark")))}
    blocks |= {
        f"profile.cases[{i}]": b
        for i, b in enumerate(_blocks(_mapping(raw, "profile").get("cases")))
    }
    blocks |= {
        f"studies.{study}[{i}]": b
        for study in Studies.model_fields
        for i, b in enumerate(_blocks(_mapping(raw, "studies").get(study)))
    }
    for i, pair in enumerate(_lists(_mapping(raw, "profile").get("diffs")) if modes else []):
        faults += [
            f"profile.diffs[{i}][{j}]: unknown mode {name!r}" + meant(name, modes)
            for j, name in enumerate(map(str, pair))
            if name not in modes
        ]
    for where, block in blocks.items():
        # Where there are no models or modes at all, that is the fault: not every name of one.
        for i, name in enumerate(_names(block.get("models")) if models else []):
            if name not in models:
                faults.append(f"{where}.models[{i}]: unknown model {name!r}" + meant(name, models))
            elif block.get("task") == "training" and name != trained and trained in mlps:
                faults.append(f"{where}.models[{i}]: only {trained!r} (training.model) is trained")
        for i, name in enumerate(_names(block.get("modes")) if modes else []):
            engine = _mapping(modes, name).get("engine")
            if name not in modes:
                faults.append(f"{where}.modes[{i}]: unknown mode {name!r}" + meant(name, modes))
            elif (wanted := STUDIED_ENGINES.get(where.partition("[")[0])) and engine != wanted:
                faults.append(
                    f"{where}.modes[{i}]: {name!r} has the engine {engine}; this study is of modes"
                    f" whose engine is {wanted}"
                )
            elif (
                block.get("task") == "training"
                and engine in ENGINES  # an unknown engine is told where the mode is defined
                and engine not in ENGINES_THAT_TRAIN
            ):
                faults.append(
                    f"{where}.modes[{i}]: {name!r} cannot train; engines that can: "
                    + ", ".join(ENGINES_THAT_TRAIN)
                )
    return faults


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _blocks(value: Any) -> list[Mapping[str, Any]]:
    return [b if isinstance(b, Mapping) else {} for b in value] if isinstance(value, list) else []


def _lists(value: Any) -> list[list[Any]]:
    return [v for v in value if isinstance(v, list)] if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _family(model: Any) -> str | None:
    return model.get("family") if isinstance(model, Mapping) else None


if __name__ == "__main__":  # python -m torchmodes.config > config/schema.json
    sys.stdout.write(json.dumps(config_schema(), indent=2) + "\n")
