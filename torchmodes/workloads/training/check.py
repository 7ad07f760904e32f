"""What would fail in every job that trains, told before any of them starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torchmodes.config.faults import InvalidConfig
from torchmodes.config.run import SYNTHETIC, Config
from torchmodes.workloads.training.split import split_sizes


def check_data(config: Config) -> None:
    """Check the user's table, and that each batch to train on fits into the training split.

    Raises
    ------
    ValueError
        With all that is wrong with the table, or else with every batch size that is too large.
    """
    rows = _training_rows(config)
    if faults := [
        f"{place}: {size} is more than the {rows} rows of the training split; use {rows} or fewer,"
        " or more data"
        for place, size in _training_batches(config)
        if size > rows
    ]:
        raise InvalidConfig(faults)


def _training_rows(config: Config) -> int:
    data = config.data
    shares = {"validation": data.validation, "test": data.test}
    if data.source == SYNTHETIC:
        return split_sizes(data.rows, **shares)["training"]
    # Only here: pandas would delay the start of every run.
    from torchmodes.workloads.training.dataset import fit_table

    return fit_table(
        Path(data.source), features=data.features, target=data.target, seed=config.seed, **shares
    ).training_rows


def _training_batches(config: Config) -> Iterator[tuple[str, int]]:
    """Yield each batch size that is trained with, and where it stands."""
    if config.training.modes:
        yield "training.batch_size", config.training.batch_size
    blocks = {"benchmark": config.benchmark, "profile.cases": config.profile.cases}
    blocks |= {f"studies.{name}": grids for name, grids in config.studies}
    for name, grids in blocks.items():
        for at, grid in enumerate(grids):
            if grid.task == "training" and any(config.models[m].reads_table for m in grid.models):
                for position, size in enumerate(grid.batch_sizes):
                    yield f"{name}[{at}].batch_sizes[{position}]", size
