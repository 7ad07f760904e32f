"""A trained run in seconds: a small table, and small models by the job that the workflow runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel

from torchmodes.config import parse_config
from torchmodes.config.modes import EagerMode, FxMode, TorchScriptMode
from torchmodes.config.run import HOUSING_FEATURES, Config
from torchmodes.planning.cases import (
    TABLE,
    TABLE_FILES,
    TABLE_STATISTICS,
    Case,
    trained_model,
    training_metrics,
)
from torchmodes.planning.job import Job
from torchmodes.workloads.training.dataset import fit_table, save_statistics
from torchmodes.workloads.training.generate import generate_housing, write_housing
from torchmodes.workloads.training.job import train_model
from torchmodes.workloads.training.metrics import sign_artefacts
from torchmodes.workloads.workload import carry_out

EAGER = EagerMode(engine="eager")
MODES: dict[str, BaseModel] = {
    "eager": EAGER,
    "fx": FxMode(engine="fx"),
    "torchscript": TorchScriptMode(engine="torchscript"),
}
BATCH = 64


def write_table(folder: Path, *, rows: int = 400, features: int = 5) -> None:
    """Write the table and its statistics; with fewer features, the first ones."""
    frame = generate_housing(rows=rows, seed=7)
    names = list(frame.columns[:features])
    write_housing(frame, folder / TABLE)
    described = fit_table(
        folder / TABLE, features=names, target="Price", validation=0.1, test=0.1, seed=7
    )
    save_statistics(described, folder / TABLE_STATISTICS)


def write_training(
    folder: Path, mode: str, options: BaseModel, *, features: int = 5, operators: Path | None = None
) -> None:
    """Train for one epoch in a mode, in this process, and leave what the workflow would."""
    model = folder / trained_model(mode)
    model.mkdir(parents=True)
    case = Case("training", "cpu", "house_price", mode, "fp32", BATCH)
    config = configured({"eager": EAGER, mode: options}, features=features)
    table = [folder / path for path in TABLE_FILES]
    job = Job(
        case=case,
        model=config.models[case.model].model_dump(),
        mode=options.model_dump(),
        seed=config.seed,
        threads=torch.get_num_threads(),
        features=features,
        learning_rate=config.training.learning_rate,
        table=tuple(table),
        operators=operators,
    )
    with contextlib.redirect_stdout(None):
        told = carry_out(
            train_model,
            job,
            epochs=1,
            history=str(model.with_name("history.csv")),
            model=str(model),
        )
    told["signatures"] = sign_artefacts(told, model)
    (folder / training_metrics(mode)).write_text(json.dumps({"mode": mode, **told}))


def configured(modes: Mapping[str, BaseModel], *, features: int) -> Config:
    """Return a configuration with some modes, a small model and some of the table's features."""
    block = {"task": "training", "models": ["house_price"], "modes": ["eager"]}
    return parse_config(
        {
            "data": {"source": "table.csv", "features": HOUSING_FEATURES[:features]},
            "models": {"house_price": {"family": "mlp", "hidden": [16, 8]}},
            "modes": {mode: options.model_dump() for mode, options in modes.items()},
            "training": {"modes": ["eager"]},
            "benchmark": [block | {"batch_sizes": [BATCH]}],
            "profile": {},
            "studies": {},
            "measurement": {},
        }
    )


def write_trained_run(
    folder: Path, modes: Mapping[str, BaseModel] = MODES, *, operators: Path | None = None
) -> None:
    """Write a table and a model per mode below a folder."""
    write_table(folder)
    for mode, options in modes.items():
        write_training(folder, mode, options, operators=operators)
