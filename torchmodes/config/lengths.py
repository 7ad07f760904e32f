"""Lengths of the texts that a text model is called with, and the padding of their batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from torchmodes.config.base import Count, FilePath, Positive, Section

Padding = Literal["none", "batch", "bucket", "max"]
_ALONE = "without padding a batch holds one text: use batch_sizes: [1], or another `padding`"


class Lengths(Section):
    """Texts of different lengths, instead of sequences that are all `sequence_length` long.

    They make a fixed list of batches, which both sides of a comparison take in the same order.
    """

    file: FilePath | None = Field(
        None,
        description="file with one text per line, which the model's own tokeniser turns into"
        " tokens; texts longer than `sequence_length` are cut there",
        min_length=1,
    )
    distribution: Literal["lognormal", "uniform"] | None = Field(
        None,
        description="in place of a file: random tokens, in texts whose lengths are drawn from this"
        " distribution by the seed",
    )
    median: Count | None = Field(None, description="lognormal: median length of the texts, tokens")
    spread: Positive = Field(
        0.6, description="lognormal: standard deviation of the length's logarithm"
    )
    min: Count = Field(1, description="distribution: length of the shortest text, tokens")
    max: Count | None = Field(
        None,
        description="distribution: length of the longest text, tokens; null: `sequence_length`",
    )
    batches: Count = Field(
        32,
        description="number of batches: from a file at most this many, the first ones; from a"
        " distribution exactly this many",
    )
    padding: Padding = Field(
        "batch",
        description="length to which a batch is padded. none: a batch is one text; batch: that of"
        " its longest text; bucket: the next of the `buckets`; max: `sequence_length`",
    )
    buckets: list[Count] | None = Field(
        None, description="bucket: padded lengths, tokens; null: powers of two", min_length=1
    )
    sorted: bool = Field(
        False, description="put texts of similar length into one batch, the shortest first"
    )
    side: Literal["right", "left"] = Field(
        "right",
        description="side on which a text is padded; left: the model is given the positions, too",
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
                    " raise sequence_length"
                )

    def width(self, longest: int, sequence_length: int) -> int:
        """Return the padded length of a batch whose longest text has `longest` tokens."""
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
        return f"task: a model with `{key}` can only be used for inference; use a model without it"
    if not isinstance(lengths, Mapping) or lengths.get("padding") != "none":
        return None
    return None if block.get("batch_sizes") in ([1], None) else f"batch_sizes: {_ALONE}"
