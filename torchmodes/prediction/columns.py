"""Values of the table's columns as people read them; nothing here needs PyTorch."""

from __future__ import annotations

import math

from torchmodes.workloads.training.dataset import Column

DOLLARS = "dollars"


def beyond_training(column: Column, value: float) -> str | None:
    """Say that a value lies outside what the model has seen of a feature, or return None."""
    if column.minimum <= value <= column.maximum:
        return None
    side = "below" if value < column.minimum else "above"
    return (
        f"{side} every value in the training data"
        f" ({in_words(column, column.minimum)} to {in_words(column, column.maximum)}):"
        " the model extrapolates"
    )


def decimals(column: Column) -> int:
    """Return how many decimals resolve a hundredth of a column's spread."""
    return max(0, 2 - math.floor(math.log10(column.standard_deviation)))


def usual(column: Column) -> float:
    """Return a column's training mean, rounded to the decimals that are shown of it."""
    return round(column.mean, decimals(column))


def in_words(column: Column, value: float) -> str:
    """Write a value of a column: ``$1,230,627`` for dollars, else the number alone."""
    if column.unit == DOLLARS:
        return f"{'-' if value < 0 else ''}${abs(value):,.0f}"
    return f"{value:,.{decimals(column)}f}"
