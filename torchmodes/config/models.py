"""What is executed: a model of each family, as the configuration describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from torchmodes.config.base import Count, Options, Reference, Section

Weights = Literal["random", "pretrained"]

WEIGHTS = "random: drawn from the seed; pretrained: as published, from a folder or the cache"


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
    options: Options = Field({}, description="changes to the configuration, as n_layer: 2")


class UserModel(Section):
    """A model of yours; one item is whatever a batch counts."""

    family: Literal["user"]
    factory: Reference = Field(
        description="path/to/file.py:build; build() returns a torch.nn.Module"
    )
    inputs: Reference = Field(
        description="path/to/file.py:inputs; inputs(batch_size) returns tensor, tuple or dict"
    )
    options: Options = Field({}, description="keyword arguments for the factory")
    item: str = Field(
        "item",
        description="what one element of a batch is: image, row, sequence",
        min_length=1,
        max_length=32,
    )


Model = Annotated[
    MlpModel | TorchvisionModel | TransformersModel | UserModel, Field(discriminator="family")
]
