"""Models, what is executed: the options of each family in the configuration.

What is known of a family without importing PyTorch is in its section; the rest is in its module,
``torchmodes/workloads/models/{family}.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from torchmodes.config.base import (
    Count,
    Options,
    Positive,
    Reference,
    Section,
    by_tag,
    or_null,
)
from torchmodes.config.lengths import Lengths
from torchmodes.config.training_step import NEXT_TOKEN, TrainingStep

Weights = Literal["random", "pretrained"]

WEIGHTS = "random: drawn from the seed; pretrained: as published, from a folder or the cache"


class ModelSection(Section):
    """What builds a model, and what the workflow must know of its family.

    Attributes
    ----------
    reads_table
        Whether its inputs are rows of the table, and its targets their prices.
    generates
        Whether it has models that can generate text; `cannot_generate` says it of one model.
    packages
        The distributions that it needs beside PyTorch: another version makes results stale.
    environment
        Its file in ``envs/``.
    imports
        Its slow imports.
    imports_behind_a_fork
        Those that each process must do itself where there is a GPU: they ask for its properties,
        and a process that has initialised CUDA cannot be forked.
    named_by
        The key that names one model of the family, which `make try MODEL=family/…` sets.
    """

    family: str
    train: Annotated[TrainingStep, or_null(TrainingStep)] = Field(
        None, description="its training step; null: the defaults", validate_default=True
    )
    quality: Reference | None = Field(
        None,
        description="path/to/file.py:evaluate; evaluate(call) runs the model as call(…) on data of"
        " yours and returns one score per example, larger is better; null: the model is not scored",
    )
    quality_margin: Positive | None = Field(
        None,
        description="largest loss of the mean score that is acceptable, in its unit; null: 0.005,"
        " for scores from 0 to 1",
    )
    reads_table: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[str] = "torch"
    imports: ClassVar[tuple[str, ...]] = ()
    imports_behind_a_fork: ClassVar[tuple[str, ...]] = ()
    named_by: ClassVar[str | None] = None

    @model_validator(mode="after")
    def _margin_of_something(self) -> Self:
        if self.quality_margin is not None and self.quality is None:
            raise ValueError(
                "quality_margin is set without `quality`; name the function that scores"
            )
        return self

    @classmethod
    def preloadable(cls, *, gpu: bool) -> tuple[str, ...]:
        """Return the slow imports that a process can be forked behind, with or without a GPU."""
        return cls.imports if gpu else (*cls.imports, *cls.imports_behind_a_fork)

    def weights_folder(self) -> Path | None:
        """Return the folder that its weights come from, where it is one of the user's."""
        return None

    def texts_file(self) -> Path | None:
        """Return the file of the texts that it is called with, where it names one."""
        return None

    def usual_loss(self) -> str | None:
        """Name the loss of a training step where none is given; None: as the output is logits."""
        return None


class MlpModel(ModelSection):
    """Multi-layer perceptron with ReLU on the table's features; one item is a row."""

    reads_table = True

    family: Literal["mlp"]
    hidden: list[Count] = Field([256, 256], description="units of each hidden layer", min_length=1)

    @model_validator(mode="after")
    def _trained_on_the_table(self) -> MlpModel:
        if self.train.targets or self.train.learning_rate or self.train.accumulate > 1:
            raise ValueError(
                "train: a model of the table takes its targets from it, training.learning_rate and"
                " whole batches; leave out targets, learning_rate and accumulate"
            )
        return self


class TorchvisionModel(ModelSection):
    """A model of torchvision for images, videos, or pairs of images; one item is one of these."""

    packages = ("torchvision",)
    environment = "vision"
    imports = ("torchvision.models",)
    named_by = "name"

    family: Literal["torchvision"]
    name: str = Field(
        description="a name of torchvision.models.list_models(), such as resnet50, vit_b_16,"
        " fasterrcnn_resnet50_fpn or quantized_resnet18"
    )
    weights: Weights = Field("random", description=WEIGHTS)
    image_size: Count | None = Field(
        None,
        description="height and width of an image in pixels; null: 224, for a detector the size it"
        " resizes images to, for videos and segmentation that of the published weights",
    )
    frames: Count = Field(16, description="images of a video")
    options: Options = Field(
        {}, description="keyword arguments of its builder, such as min_size: 320"
    )


class TimmModel(ModelSection):
    """A model of timm; one item is an image."""

    packages = ("timm", "torchvision")
    environment = "vision"
    imports = ("timm",)
    named_by = "name"

    family: Literal["timm"]
    name: str = Field(
        description="a name of timm.list_models(), such as convnext_tiny; a tag chooses among"
        " pretrained weights, as in convnext_tiny.fb_in22k"
    )
    weights: Weights = Field("random", description=WEIGHTS)
    image_size: Count | None = Field(
        None,
        description="height and width of an image in pixels; null: as the model's configuration in"
        " timm says",
    )
    options: Options = Field({}, description="keyword arguments of timm.create_model()")


class GenerationLengths(Section):
    """How much text the task `generation` generates."""

    prompt_length: Count = Field(64, description="tokens of the prompt")
    new_tokens: int = Field(32, description="tokens to generate, the first one included", ge=2)


class TransformersModel(ModelSection):
    """A model of transformers; one item is a token sequence, an image, a recording or a pair."""

    generates = True
    packages = ("transformers",)
    environment = "language"
    imports = ("transformers.masking_utils", "transformers.models.auto.modeling_auto")
    imports_behind_a_fork = ("transformers.modeling_utils",)  # by torchao, where it is installed
    named_by = "source"

    family: Literal["transformers"]
    source: str = Field(
        description="name of a configuration, such as gpt2, t5, vit or whisper, a folder, or an"
        " identifier on the Hugging Face Hub"
    )
    weights: Weights = Field("random", description=WEIGHTS)
    head: Literal[
        "base",
        "causal-lm",
        "masked-lm",
        "sequence-classification",
        "token-classification",
        "seq2seq-lm",
        "image-classification",
        "semantic-segmentation",
        "depth-estimation",
        "video-classification",
        "audio-classification",
        "ctc",
        "speech-seq2seq",
        "sentence-embedding",
    ] = Field(
        "base",
        description="what the output is: hidden states (base), the logits of a head, or one vector"
        " per sentence, pooled and normalised as modules.json says for sentence-transformers",
    )
    part: Literal["step", "encoder"] = Field(
        "step",
        description="encoder-decoder models: one pass of both, or of the encoder alone",
    )
    sequence_length: Count = Field(
        128,
        description="tokens of a sequence; in an encoder-decoder model, tokens that each of the"
        " two reads",
    )
    samples: Count = Field(
        16_000, description="values of a recording's waveform, 16,000 per second"
    )
    lengths: Lengths | None = Field(
        None,
        description="texts of different lengths; null: all are `sequence_length` tokens long",
        exclude_if=lambda lengths: lengths is None,
    )
    generation: GenerationLengths = Field(
        GenerationLengths(), description="lengths of prompt and text for the task `generation`"
    )
    options: Options = Field(
        {}, description="changes to the model's configuration, such as n_layer: 2"
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> TransformersModel:
        if self.lengths is not None:
            self.lengths.fits(self.sequence_length)
        return self

    def weights_folder(self) -> Path | None:
        """Return the folder that `source` names, where it is one that save_pretrained wrote."""
        return saved_model(self.source)

    def texts_file(self) -> Path | None:
        """Return the file of `lengths`."""
        return Path(self.lengths.file) if self.lengths and self.lengths.file else None

    def usual_loss(self) -> str | None:
        """Name the loss of a language model."""
        return NEXT_TOKEN if self.head == "causal-lm" else None


def saved_model(source: str) -> Path | None:
    """Return a folder that transformers' save_pretrained wrote; None where there is none."""
    folder = Path(source).expanduser()
    return folder if (folder / "config.json").is_file() else None


class UserModel(ModelSection):
    """A model of yours; one item is whatever a batch counts."""

    generates = True
    environment = "onnx"  # your code may import whatever the lock has

    family: Literal["user"]
    factory: Reference = Field(
        description="path/to/file.py:build; build() returns a torch.nn.Module"
    )
    inputs: Reference | None = Field(
        None,
        description="path/to/file.py:inputs; inputs(batch_size) returns a tensor, tuple or dict",
    )
    schedule: Reference | None = Field(
        None,
        description="in place of `inputs`: path/to/file.py:batches; batches(batch_size) returns a"
        " list of such inputs, whose sizes may differ and which are taken in turn",
        exclude_if=lambda schedule: schedule is None,
    )
    options: Options = Field({}, description="keyword arguments for the factory")
    generation: GenerationLengths | None = Field(
        None,
        description="lengths of prompt and text for the task `generation`, for a module with"
        " prefill(tokens) and decode(token, state), both of which return (logits, state)",
        exclude_if=lambda generation: generation is None,
    )
    item: str = Field(
        "item",
        description="what one element of a batch is, such as image, row or sequence",
        min_length=1,
        max_length=32,
    )

    @model_validator(mode="after")
    def _has_inputs(self) -> UserModel:
        if (self.inputs is None) == (self.schedule is None):
            raise ValueError("give either `inputs` or `schedule`")
        if self.schedule is not None and self.generation is not None:
            raise ValueError("generation: texts have one length; give `inputs`, not `schedule`")
        return self


Model = Annotated[
    MlpModel  # one a line: to add a family is to add a line
    | TorchvisionModel
    | TimmModel
    | TransformersModel
    | UserModel,
    Field(discriminator="family"),
]
FAMILIES: dict[str, type[ModelSection]] = by_tag(Model)


def cannot_generate(model: Mapping[str, Any]) -> str | None:
    """Say why a model cannot generate text, or return None; it may be as somebody wrote it."""
    section = FAMILIES.get(model.get("family", ""))
    if section is None:  # an unknown family is told where the model is defined
        return None
    if not section.generates:
        families = " or ".join(name for name, one in FAMILIES.items() if one.generates)
        return f"cannot generate text; use a causal language model of family {families}"
    if "head" not in section.model_fields:
        if model.get("generation") is None:
            return "has no lengths for generation; set `generation: { prompt_length: 64 }`"
        return None
    if model.get("head") in ("seq2seq-lm", "speech-seq2seq"):
        return "is an encoder-decoder model, whose generation is not measured; use task: inference"
    if model.get("head") != "causal-lm":
        return "has no head that predicts the next token; set `head: causal-lm`"
    if model.get("lengths") is not None:
        return (
            "has texts of different lengths, but all prompts have one length; leave out `lengths`"
        )
    return None


def read_model(options: Mapping[str, Any]) -> ModelSection:
    """Read the section of a model from the parameters of a job."""
    return FAMILIES[options["family"]].model_validate(options)


def family_module(family: str) -> str:
    """Name the module of a family.

    It has a function ``build``, and ``download`` where weights are published.
    """
    return f"torchmodes.workloads.models.{family}"
