"""From values in their own units to a price: normalise, call the model, scale its output back."""

from __future__ import annotations

import timeit
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from torchmodes.prediction.artefacts import Artefact
from torchmodes.prediction.loading import load_model
from torchmodes.workloads.training.dataset import TableStatistics

TIMED_CALLS = 9


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one row.

    `value` is in the target's own unit (dollars), `score` the model's answer, z-scored, for the
    z-scored float32 row of shape (1, features). `latency_s`, the median of a few calls in this
    process, is an indication and no measurement.
    """

    value: float
    score: float
    row: torch.Tensor
    latency_s: float
    artefact: Artefact


def predict(
    artefact: Artefact,
    statistics: TableStatistics,
    values: Sequence[float],
    *,
    allowed: Collection[str] = (),
) -> Prediction:
    """Load a model and ask it about one row: a value per feature, in their order and units.

    Raises
    ------
    Unusable
        When the file cannot be used; `Untrusted` when it was not loaded because no training of this
        user made it and it is not `allowed` (see `torchmodes.prediction.artefacts.read_allowed`).
    ValueError
        When there are more or fewer values than features.
    """
    model = load_model(artefact, statistics, allowed=allowed)
    row = normalise(statistics, values)
    with torch.inference_mode():
        score = model(row)
        seconds = timeit.repeat(lambda: model(row), number=1, repeat=TIMED_CALLS)
    if not score.isfinite():
        raise artefact.unusable(
            f"answers with {score.item()}, which is no number: its training diverged, or a value is"
            " beyond single precision"
        )
    return Prediction(
        value=statistics.target_from_z(score).item(),
        score=score.item(),
        row=row,
        latency_s=median(seconds),
        artefact=artefact,
    )


def normalise(statistics: TableStatistics, values: Sequence[float]) -> torch.Tensor:
    """Return one row of z-scores as training saw them: float64 arithmetic, then float32."""
    columns = statistics.features
    if len(values) != len(columns):
        raise ValueError(f"{len(values)} values for {len(columns)} features")
    row = [
        (value - column.mean) / column.standard_deviation
        for value, column in zip(values, columns, strict=True)
    ]
    return torch.tensor([row], dtype=torch.float32)
