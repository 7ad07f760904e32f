"""How long the texts are that a text model is called with, and how their batches are padded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from torchmodes.config.base import Count, FilePath, Positive, Section

Padding = Literal["none", "batch", "bucket", "max"]
_ALONE = "without padding a batch holds one text: use batch_sizes: [1], or another `padding`"


class Lengths(Section):
    """Texts as they arrive, instead of sequences that are all `sequence_length` long.

    They make a fixed list of batches, which both sides of a comparison take in the same order.
    """

    file: FilePath | None = Field(
        None,
        description="texts, one a line, which the model's own tokeniser makes into tokens; what is"
        " longer than `sequence_length` is cut there",
        min_length=1,
    )
    distribution: Literal["lognormal", "uniform"] | None = Field(
        None, description="instead of a file: random tokens, of lengths drawn from this by the seed"
    )
    median: Count | None = Field(None, description="lognormal: tokens of half of the texts")
    spread: Positive = Field(
        0.6, description="lognormal: standard deviation of the length's logarithm"
    )
    min: Count = Field(1, description="distribution: tokens of the shortest text")
    max: Count | None = Field(
        None, description="distribution: of the longest; null: `sequence_length`"
    )
    batches: Count = Field(
        32, description="the most batches: of a file the first ones, of a distribution so many"
    )
    padding: Padding = Field(
        "batch",
        description="none: a batch is one text; batch: to its longest text; bucket: to the next of"
        " the `buckets`; max: to `sequence_length`",
    )
    buckets: list[Count] | None = Field(
        None, description="bucket: lengths in tokens; null: powers of two", min_length=1
    )
    sorted: bool = Field(False, description="batches of texts of like length, the shortest first")
    side: Literal["right", "left"] = Field(
        "right", description="where a text is padded; left: its positions are handed over, too"
    )

    @model_validator(mode="after")
    def _possible(self) -> Lengths:
        if (self.file is None) == (self.distribution is None):
            raise ValueError("lengths: give either `file` or `distribution`")
        if (self.distribution == "lognormal") != (self.median is not None):
            raise ValueError(
                "lengths: `median` belongs to `distribution: lognormal`, which needs it"
            )
        if self.file is not None and (self.min > 1 or self.max is not None):
            raise ValueError("lengths: `min` and `max` belong to a distribution, not to a file")
        if self.max is not None and not self.min <= (self.median or self.min) <= self.max:
            raise ValueError("lengths: `min`, `median` and `max` must not decrease in this order")
        if self.buckets is not None and self.padding != "bucket":
            raise ValueError("lengths: `buckets` belongs to `padding: bucket`")
        return self

    def fits(self, sequence_length: int) -> None:
        """Refuse lengths beyond a model's `sequence_length`.

        Raises
        ------
        ValueError
            Naming the key.
        """
        longest = {
            "min": self.min,
            "median": self.median,
            "max": self.max,
            "buckets": max(self.buckets or [1]),
        }
        for key, value in longest.items():
            if value is not None and value > sequence_length:
                raise ValueError(
                    f"lengths.{key}: {value} is more than sequence_length ({sequence_length});"
                    " raise that"
                )

    def width(self, longest: int, sequence_length: int) -> int:
        """Return to how many tokens a batch is padded whose longest text has `longest`."""
        if self.padding == "max":
            return sequence_length
        if self.padding != "bucket":
            return longest
        if self.buckets is None:
            return min(1 << (longest - 1).bit_length(), sequence_length)
        return min((size for size in self.buckets if size >= longest), default=sequence_length)


def lengths_fault(model: Mapping[str, Any], block: Mapping[str, Any]) -> str | None:
    """Say why a block of cases cannot have a model whose inputs are a schedule, or return None.

    Both are sections of the configuration, checked or not.
    """
    lengths = model.get("lengths")
    if lengths is None and model.get("schedule") is None:
        return None
    if block.get("task", "inference") != "inference":
        key = "schedule" if lengths is None else "lengths"
        return f"task: a model with `{key}` is for inference; give another one without"
    if not isinstance(lengths, Mapping) or lengths.get("padding") != "none":
        return None
    return None if block.get("batch_sizes") in ([1], None) else f"batch_sizes: {_ALONE}"
