"""From the table to z-scored tensors: the split, its statistics, and back to the target's unit.

Everything up to the tensors works without PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from torchmodes.results.reading import first_fault
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.training.generate import UNITS
from torchmodes.workloads.training.split import split_sizes
from torchmodes.workloads.training.table import column_faults, read_table

if TYPE_CHECKING:
    import torch

STREAM = 1  # not that of the generated table: a split must know nothing of its rows


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts, int64; disjoint, together all rows."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@checked_dataclass(frozen=True)
class Column:
    """A column over the training split, in its own unit (None where unknown).

    The standard deviation is that of the split itself (divided by n). A value outside minimum and
    maximum is one that the model has never seen.
    """

    name: str
    mean: FiniteFloat
    standard_deviation: Annotated[FiniteFloat, Field(gt=0)]
    minimum: FiniteFloat
    maximum: FiniteFloat
    unit: str | None


@checked_dataclass(frozen=True)
class TableStatistics:
    """What turns a table into z-scores and predictions back: all of it from the training split."""

    features: tuple[Column, ...]
    target: Column
    rows: int
    training_rows: int
    validation: float
    test: float
    seed: int
    table_sha256: str

    def target_from_z(self, values: Any) -> Any:
        """Turn z-scored targets or predictions into the target's unit (dollars).

        A number and an array give their like. A tensor comes back on the CPU in float64: half
        precisions cannot resolve the unit, and MPS has no float64.
        """
        if hasattr(values, "cpu"):
            values = values.detach().cpu().double()
        return values * self.target.standard_deviation + self.target.mean


@dataclass(frozen=True, eq=False)
class Tensors:
    """The z-scored table on a device: float32, x of shape (rows, features), y of (rows, 1)."""

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_validation: torch.Tensor
    y_validation: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


def split_indices(rows: int, *, validation: float, test: float, seed: int) -> Split:
    """Split row numbers at random, by shares of them (`split_sizes`).

    The order sorts one draw of PCG64's raw stream per row: the same on every platform.

    Raises
    ------
    ValueError
        When a part would have fewer than 2 rows.
    """
    sizes = split_sizes(rows, validation=validation, test=test)
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(STREAM,)))
    order = np.argsort(bits.random_raw(rows), kind="stable")
    train, rest = np.split(order, [sizes["training"]])
    return Split(train, *np.split(rest, [sizes["validation"]]))


def fit_statistics(frame: pd.DataFrame, rows: np.ndarray) -> tuple[Column, ...]:
    """Describe each column of a table over the given rows (those of the training split).

    Raises
    ------
    ValueError
        When columns are constant there, or cannot be scaled; the last one is the target.
    """
    among = f" over the {len(rows)} training rows"
    if faults := column_faults(frame.iloc[rows], among=among):
        raise ValueError("; ".join(faults))
    # A table of the same columns is in the same units; a "Price" beside others may be in any.
    units = UNITS if list(frame.columns) == list(UNITS) else {}
    of_split = ((name, frame[name].to_numpy()[rows]) for name in frame.columns)
    return tuple(
        Column(
            name=name,
            mean=float(values.mean()),
            standard_deviation=float(values.std()),
            minimum=float(values.min()),
            maximum=float(values.max()),
            unit=units.get(name),
        )
        for name, values in of_split
    )


def fit_table(
    path: Path,
    *,
    features: Sequence[str],
    target: str,
    validation: float,
    test: float,
    seed: int,
) -> TableStatistics:
    """Read a table, split it, and describe its training split.

    Raises
    ------
    ValueError
        At a fault of the table, its split or a column.
    """
    frame = read_table(path, features=features, target=target)
    split = split_indices(len(frame), validation=validation, test=test, seed=seed)
    try:
        *feature_columns, target_column = fit_statistics(frame, split.train)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return TableStatistics(
        features=tuple(feature_columns),
        target=target_column,
        rows=len(frame),
        training_rows=len(split.train),
        validation=validation,
        test=test,
        seed=seed,
        table_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def save_statistics(statistics: TableStatistics, path: Path) -> None:
    """Write statistics as JSON, whole or not at all; equal to the last digit when read."""
    write_atomically(path, json.dumps(asdict(statistics), indent=2, ensure_ascii=False) + "\n")


def load_statistics(path: Path) -> TableStatistics:
    """Read what `save_statistics` wrote.

    Raises
    ------
    ValueError
        When the file is missing or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `snakemake --cores 4 {path}` makes it")
    try:
        return TypeAdapter(TableStatistics).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{path}: these are no statistics of a table ({first_fault(error.errors())});"
            " remove it and make it anew"
        ) from error


def load_tensors(table: Path, statistics: Path, *, device: str | torch.device) -> Tensors:
    """Read a table and return its three parts as z-scored tensors on a device.

    The statistics that `save_statistics` wrote for it also say how the table is split.

    Raises
    ------
    ValueError
        When the statistics are those of another table.
    """
    import torch

    fitted = load_statistics(statistics)
    if hashlib.sha256(table.read_bytes()).hexdigest() != fitted.table_sha256:
        raise ValueError(
            f"{statistics} describes another table than {table}, which has changed since: "
            f"remove {statistics} and make it anew"
        )
    names = [column.name for column in fitted.features]
    frame = read_table(table, features=names, target=fitted.target.name)
    split = split_indices(
        len(frame), validation=fitted.validation, test=fitted.test, seed=fitted.seed
    )
    columns = [*fitted.features, fitted.target]
    means = np.array([column.mean for column in columns])
    deviations = np.array([column.standard_deviation for column in columns])
    scores = torch.from_numpy((frame.to_numpy() - means) / deviations).float()

    def part(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        taken = scores[torch.from_numpy(rows)]
        # Apart, each is contiguous; a slice of the other's rows would be slower to index.
        return taken[:, :-1].contiguous().to(device), taken[:, -1:].contiguous().to(device)

    return Tensors(*part(split.train), *part(split.validation), *part(split.test))


def save_training_stats(statistics: TableStatistics, path: Path) -> None:
    """Write ``training_stats.pt``: plain tensors and texts, for ``torch.load(weights_only=True)``.

    Keys: ``features`` and ``target`` (names), ``x_mean``, ``x_std``, ``x_min``, ``x_max`` (float64,
    shape (features,)), ``y_mean``, ``y_std``, ``y_min``, ``y_max`` (float64, shape (1,)), ``units``
    (features, then target), ``rows``, ``training_rows``, ``table_sha256``.
    """
    import torch

    content: dict[str, Any] = {
        "features": [column.name for column in statistics.features],
        "target": statistics.target.name,
        "units": [column.unit for column in (*statistics.features, statistics.target)],
        "rows": statistics.rows,
        "training_rows": statistics.training_rows,
        "table_sha256": statistics.table_sha256,
    }
    figures = {"mean": "mean", "std": "standard_deviation", "min": "minimum", "max": "maximum"}
    for prefix, columns in (("x", statistics.features), ("y", (statistics.target,))):
        for key, figure in figures.items():
            values = [getattr(column, figure) for column in columns]
            content[f"{prefix}_{key}"] = torch.tensor(values, dtype=torch.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
