"""Compare the project's training loop with the usual ``Dataset`` behind a ``DataLoader``.

    python -m benchmarks.training_loop

Both loops train the same model from the same weights on the same rows with the same optimiser step
(forward, mean squared error, backward, Adam), shuffle anew in each epoch and drop a last, smaller
batch. They differ in one thing: where a batch comes from. Here it is taken by index from tensors
that lie on the device; there a ``Dataset`` gives one row at a time, which the ``DataLoader``
collates to a batch and the loop moves to the device. What that costs depends on the ``Dataset``, so
there are two: one converts a row of NumPy arrays at each access, as most tutorials do; the other
holds tensors (``TensorDataset``), the cheapest that gives single rows.

Single steps of the two are interleaved in one process, in blocks of balanced random order, and
compared with the project's own statistics (docs/measuring.md). A step that begins an epoch pays for
its beginning too.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset, TensorDataset

from torchmodes.config.base import Device
from torchmodes.config.models import MlpModel
from torchmodes.config.run import HOUSING_FEATURES, Data, Measurement, Training
from torchmodes.machine.devices import find_device, usable_cores
from torchmodes.measure.clock import make_clock
from torchmodes.measure.sampler import Sampling, sample
from torchmodes.measure.statistics import Effect, effect, log_ratios, sides_of
from torchmodes.workloads.models import build_model
from torchmodes.workloads.training.dataset import Tensors, fit_table, load_tensors, save_statistics
from torchmodes.workloads.training.generate import generate_housing, write_housing
from torchmodes.workloads.training.loop import batches
from torchmodes.workloads.training.step import make_optimizer, make_step

Step = Callable[[], torch.Tensor]
Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class ArrayRows(Dataset):
    """Rows of NumPy arrays, each made a tensor when it is asked for."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x.numpy(), y.numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.x[index]), torch.tensor(self.y[index])


DATASETS: dict[str, Callable[[torch.Tensor, torch.Tensor], Dataset]] = {
    "arrays": ArrayRows,
    "tensors": TensorDataset,
}


@dataclass(frozen=True)
class Comparison:
    """Samples of both loops; a call is one optimiser step, its batch included.

    Attributes
    ----------
    losses
        Mean training loss of one more epoch of each loop after the measurement, the usual one
        first: both have learnt the same.
    """

    sampling: Sampling
    losses: tuple[float, float]

    def effect(self) -> Effect:
        """Return how many times faster the project's loop is, with its interval."""
        return effect(log_ratios(*self.sides()))

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Return seconds per step of the usual loop and of the project's."""
        blocks = self.sampling.samples.counted
        return sides_of(blocks)


def main() -> None:
    """Measure and print; end with exit code 1 where a ratio is not what is required."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        tensors = make_tensors(
            Path(folder), rows=arguments.rows, seed=arguments.seed, device=arguments.device
        )
    settings = Measurement(
        target_half_width=arguments.half_width,
        budget_s=arguments.budget,
        warmup_budget_s=arguments.budget / 4,
    )
    found = {
        name: compare(
            tensors,
            dataset=DATASETS[name],
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            seed=arguments.seed,
            device=arguments.device,
            settings=settings,
        )
        for name in arguments.datasets
    }
    show(found, batch_size=arguments.batch_size, workers=arguments.workers)
    if arguments.at_least is not None:
        for name, comparison in found.items():
            if (comparison.effect().ratio.low or 0) < arguments.at_least:
                sys.exit(f"{name}: the interval does not lie above {arguments.at_least:g}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time an optimiser step end to end: the project's training loop against the"
        " usual Dataset behind a DataLoader, over the same model and data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, help="what gives rows")
    add("--rows", type=int, default=20_000, help="rows of the generated table")
    add("--batch-size", type=int, default=2048, help="rows per optimiser step")
    add("--workers", type=int, default=0, help="worker processes of the DataLoader")
    add("--device", default=find_device(), choices=get_args(Device), help="where to train")
    add("--threads", type=int, default=usable_cores(), help="threads PyTorch computes with")
    add("--budget", type=float, default=30.0, help="seconds of samples at the most, per dataset")
    add("--half-width", type=float, default=0.01, help="stop at this relative half-width")
    add("--at-least", type=float, help="end with exit code 1 unless every interval is above this")
    add("--seed", type=int, default=42, help="of data, weights and order")
    return parser.parse_args()


def make_tensors(folder: Path, *, rows: int, seed: int, device: str) -> Tensors:
    """Generate the house-price table and return it as the workflow would."""
    table, statistics = folder / "housing.csv", folder / "statistics.json"
    write_housing(generate_housing(rows=rows, seed=seed), table)
    data = Data()
    fitted = fit_table(
        table,
        features=data.features,
        target=data.target,
        validation=data.validation,
        test=data.test,
        seed=seed,
    )
    save_statistics(fitted, statistics)
    return load_tensors(table, statistics, device=device)


def compare(
    tensors: Tensors,
    *,
    dataset: Callable[[torch.Tensor, torch.Tensor], Dataset],
    batch_size: int,
    workers: int,
    seed: int,
    device: Device,
    settings: Measurement,
) -> Comparison:
    """Sample single steps of both loops, interleaved."""
    x, y = tensors.x_train, tensors.y_train
    loader = DataLoader(
        dataset(x.cpu(), y.cpu()),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device == "cuda",
        generator=torch.Generator().manual_seed(seed),
    )
    generator = torch.Generator().manual_seed(seed)
    usual = make_loop(lambda: loader, seed=seed, device=device)
    ours = make_loop(
        lambda: batches(x, y, batch_size=batch_size, generator=generator), seed=seed, device=device
    )
    sampling = sample(usual, ours, clock=make_clock(device), settings=settings, seed=seed)
    usual_loss, our_loss = (
        torch.stack([step() for _ in range(len(loader))]).mean().item() for step in (usual, ours)
    )
    return Comparison(sampling, losses=(usual_loss, our_loss))


def make_loop(take_epoch: Callable[[], Batches], *, seed: int, device: Device) -> Step:
    """Return a function that takes the next batch, epoch after epoch, and trains one step with it.

    Parameters
    ----------
    take_epoch
        Begins an epoch and gives its batches.
    seed
        Of the weights.
    device
        Where the model is.
    """
    model = build_model(
        MlpModel(family="mlp").model_dump(),
        seed=seed,
        batch_size=1,
        device=device,
        features=len(HOUSING_FEATURES),
    ).module.train()
    learning_rate = Training.model_fields["learning_rate"].default
    step = make_step(model, make_optimizer(model, learning_rate=learning_rate))
    endless = itertools.chain.from_iterable(take_epoch() for _ in itertools.repeat(None))

    def next_step() -> torch.Tensor:
        x, y = next(endless)
        return step(x.to(device, non_blocking=True), y.to(device, non_blocking=True))

    return next_step


def show(found: dict[str, Comparison], *, batch_size: int, workers: int) -> None:
    """Print each comparison: milliseconds per step (median and quartiles) and the ratio."""
    table = Table(
        title="An optimiser step end to end, its batch included, in milliseconds",
        caption=f"median, quartiles; batch {batch_size}, {torch.get_num_threads()} threads,"
        f" {workers} workers",
    )
    for heading in ("Dataset", "DataLoader", "by index", "loss of each", "times faster"):
        table.add_column(heading, justify="left" if heading == "Dataset" else "right")
    for name, comparison in found.items():
        measured = comparison.effect()
        ratio = measured.ratio
        table.add_row(
            name,
            *(_milliseconds(seconds) for seconds in comparison.sides()),
            "\n".join(f"{loss:.4f}" for loss in comparison.losses),
            f"[bold]{ratio.estimate:.2f}[/]\n"
            f"{ratio.low:.2f} to {ratio.high:.2f}\n"
            f"{measured.blocks} blocks",
        )
    Console().print(table)


def _milliseconds(seconds: np.ndarray) -> str:
    low, median, high = 1e3 * np.quantile(seconds, [0.25, 0.5, 0.75])
    return f"{median:.2f}\n{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
