"""Train the house-price model in one mode: what the process of a training job does."""

from __future__ import annotations

import csv
import statistics
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from torchmodes.planning.job import Job
from torchmodes.workloads.training.dataset import load_statistics, load_tensors, save_training_stats
from torchmodes.workloads.training.loop import fit_error, train
from torchmodes.workloads.training.metrics import HISTORY, Epoch
from torchmodes.workloads.workload import training_workload


def train_model(job: Job, *, epochs: int, history: str, model: str) -> dict[str, Any]:
    """Train, write the model's files, and return the metrics; ``wrong`` when the loss diverged.

    Written are `history`, a CSV table, and in the folder `model`, which is there, the weights and
    what the mode exports.
    """
    device, batch_size = job.case.device, job.case.batch_size
    table, described = job.table
    tensors = load_tensors(table, described, device=device)
    fitted = load_statistics(described)
    first = tensors.x_train[:batch_size], tensors.y_train[:batch_size]
    workload = training_workload(job, [first])
    module = workload.built.module
    done: list[Epoch] = []
    for epoch in train(
        workload.function,
        module,
        tensors,
        epochs=epochs,
        batch_size=batch_size,
        seed=job.seed,
        context=workload.context,
    ):
        print(  # noqa: T201 - the job's log shows progress
            f"epoch {epoch.epoch}/{epochs}: training loss {epoch.train_loss:.5f},"
            f" validation loss {epoch.validation_loss:.5f}, {epoch.seconds:.2f} s",
            flush=True,
        )
        done.append(epoch)
    write_history(done, Path(history))
    if diverged := [e.epoch for e in done if not isfinite(e.train_loss + e.validation_loss)]:
        return {
            "status": "wrong",
            "reason": f"the loss is not a finite number from epoch {diverged[0]} on",
            "remedy": "lower training.learning_rate; where eager trains well, the mode is at fault",
        }
    with torch.no_grad():
        predicted = module(tensors.x_test)
    rmse, r2 = fit_error(fitted.target_from_z(predicted), fitted.target_from_z(tensors.y_test))
    folder = Path(model)
    torch.save(module.state_dict(), folder / "weights.pt")
    save_training_stats(fitted, folder / "training_stats.pt")
    facts = workload.engine.stats()
    artefacts = ["weights.pt", "training_stats.pt", *workload.engine.export(folder)]
    steps = len(tensors.x_train) // batch_size
    # The first epoch holds the compilation; without a second there is no figure.
    later = [epoch.seconds for epoch in done[1:]]
    return {
        "status": "ok",
        "rmse": rmse,
        "r2": r2,
        "train_rows_per_s": steps * batch_size / statistics.median(later) if later else None,
        "seconds": sum(epoch.seconds for epoch in done),
        "prepare_s": workload.prepare_s,
        "first_epoch_s": done[0].seconds,
        "epochs": epochs,
        "batch_size": batch_size,
        "rows": len(tensors.x_train),
        "artefacts": artefacts,
        "facts": facts,
    }


def write_history(history: list[Epoch], path: Path) -> None:
    """Write one row per epoch; the header alone when nothing was trained."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY)
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
