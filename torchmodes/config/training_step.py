"""The training step of a model: its loss, its optimiser, and how gradients are computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from torchmodes.config.base import Count, Options, Positive, Reference, Section, known_or_reference

CROSS_ENTROPY, NEXT_TOKEN, MSE = "cross-entropy", "next-token", "mse"
LOSSES = (CROSS_ENTROPY, NEXT_TOKEN, MSE)
LEARNING_RATE = 1e-3


class TrainingStep(Section):
    """One optimiser step of a model, for cases of `task: training`."""

    loss: Annotated[str, known_or_reference("loss", LOSSES)] | None = Field(
        None,
        description="`cross-entropy`, `next-token`, `mse`, or path/to/file.py:loss, where"
        " loss(output, batch) returns a scalar; null: the usual one of the family and its head",
    )
    targets: Reference | None = Field(
        None,
        description="path/to/file.py:targets; targets(batch_size) returns what the loss finds in"
        " batch.targets; null: drawn at random to fit the loss, or None for a loss of yours",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "adam", description="optimiser of torch.optim"
    )
    implementation: Literal["auto", "for-loop", "foreach", "fused"] = Field(
        "auto", description="implementation of the optimiser; auto: PyTorch chooses"
    )
    learning_rate: Positive | None = Field(
        None,
        description=f"learning rate; null: {LEARNING_RATE:g}, or training.learning_rate for a model"
        " that reads the table",
    )
    options: Options = Field(
        {}, description="keyword arguments for the optimiser, such as weight_decay: 0.01"
    )
    accumulate: Count = Field(
        1,
        description="parts into which a batch is split, whose gradients add up to one optimiser"
        " step",
    )
    clip_norm: Positive | None = Field(
        None, description="largest norm of all gradients together; null: not clipped"
    )
    checkpoint: bool = Field(
        False,
        description="keep only the inputs of the model's blocks and compute the rest again in the"
        " backward pass: less memory, more time",
    )
