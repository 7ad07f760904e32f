"""What a training tells of itself: ``metrics.json`` and ``history.csv``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from torchmodes.planning.cases import Case
from torchmodes.results.reading import CorruptFile, Result, read_json, read_table
from torchmodes.results.records import Count, NotNegative
from torchmodes.results.signing import NoKey, sign

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split; losses are mean squared errors of the z-scored target."""

    epoch: int
    train_loss: float
    validation_loss: float
    seconds: float


HISTORY = tuple(field.name for field in fields(Epoch))
"""Columns of ``history.csv``, one row per epoch."""


class Metrics(Result):
    """How a training in one mode came out; a figure is null where there is none.

    Errors are in the unit of the target, times in seconds.
    """

    mode: str
    device: str | None = None
    status: Literal["ok", "unsupported", "failed", "wrong"]
    reason: str | None = None
    remedy: str | None = None
    rmse: NotNegative | None = None
    r2: float | None = None
    train_rows_per_s: NotNegative | None = None
    seconds: NotNegative | None = None
    prepare_s: NotNegative | None = None
    first_epoch_s: NotNegative | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    rows: Count | None = None
    artefacts: list[str] = Field([])
    signatures: dict[str, str] = Field({})
    facts: dict[str, Any] = Field({})
    environment: dict[str, Any] = Field({})


def metrics_of(
    case: Case, parts: Mapping[str, Any], model: Path, environment: Mapping[str, Any]
) -> Metrics:
    """Join what a training returned (`run_job`) with the signatures of what it left in a folder."""
    known = {"mode": case.mode, "device": case.device, "environment": environment}
    return Metrics.model_validate({**parts, **known, "signatures": sign_artefacts(parts, model)})


def sign_artefacts(parts: Mapping[str, Any], model: Path) -> dict[str, str]:
    """Sign what a training left in a folder: the app loads it without asking; see `signing`."""
    try:
        return {
            name: sign((model / name).read_bytes(), batch_size=parts["batch_size"])
            for name in parts.get("artefacts", [])
        }
    except NoKey as error:
        logger.warning("archives are not signed, so the app will ask before it runs one: %s", error)
        return {}


def read_metrics(path: Path) -> Metrics:
    """Read ``results/training/{mode}/metrics.json``.

    Raises
    ------
    torchmodes.results.reading.CorruptFile
        When it is missing, holds something else, or is of another mode than its folder.
    """
    metrics = read_json(path, Metrics)
    folder = path.absolute().parent
    if folder.parent.name == "training" and folder.name != metrics.mode:
        raise CorruptFile(path, f"is of a training in another mode, {metrics.mode}")
    return metrics


def read_history(path: Path) -> pd.DataFrame:
    """Read ``results/training/{mode}/history.csv``, as numbers.

    Raises
    ------
    torchmodes.results.reading.CorruptFile
        When it is missing, or is no such table.
    """
    history = read_table(path, numbers=HISTORY)
    if history["epoch"].duplicated().any():
        raise CorruptFile(path, "has two rows of one epoch")
    return history
