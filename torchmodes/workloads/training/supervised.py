"""Train in a process of its own, and write the metrics however that ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.processes.jobs import run_job, shared_compile_cache
from torchmodes.results.signing import NoKey, sign
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.training.metrics import HISTORY

METRICS = (
    "rmse",
    "r2",
    "train_rows_per_s",
    "seconds",
    "prepare_s",
    "first_epoch_s",
    "epochs",
    "batch_size",
    "rows",
)

logger = logging.getLogger(__name__)


def train_supervised(
    parameters: Mapping[str, Any],
    *,
    epochs: int,
    threads: int,
    table: Sequence[str],
    operators: str | None,
    metrics: Path,
    history: Path,
    model: Path,
    log: Path,
) -> dict[str, Any]:
    """Train the model of a case.

    Parameters
    ----------
    parameters
        What `torchmodes.planning.cases.case_parameters` returns for the training case.
    epochs
        Passes over the training split.
    threads
        Threads to compute with.
    table
        Paths of the table and its statistics.
    operators
        Path of the custom operators, where the mode uses them.
    metrics, history, model
        Paths to write: JSON, CSV, and a folder.
    log
        File for everything the process prints.

    Returns
    -------
    dict
        What `metrics` holds: the status, the reason and remedy where it is not ``ok``, the figures
        (null where there are none), the names of the artefacts, their signatures and the
        environment.
    """
    model.mkdir(parents=True, exist_ok=True)
    history.write_text(",".join(HISTORY) + "\n", encoding="utf-8")
    environment = describe_environment()
    parts, _ = run_job(
        "torchmodes.workloads.training.job:train_model",
        {
            "parameters": dict(parameters),
            "epochs": epochs,
            "threads": threads,
            "table": list(table),
            "operators": operators,
            "history": str(history),
            "model": str(model),
        },
        log=log,
        environment=shared_compile_cache(),
    )
    told = {
        "mode": parameters["case"]["mode"],
        "device": parameters["case"]["device"],
        "status": parts["status"],
        "reason": parts.get("reason"),
        "remedy": parts.get("remedy"),
        **{name: parts.get(name) for name in METRICS},
        "artefacts": parts.get("artefacts", []),
        "signatures": sign_artefacts(parts, model),
        "facts": parts.get("facts", {}),
        "environment": environment,
    }
    write_atomically(metrics, json.dumps(told, indent=1) + "\n")
    return told


def sign_artefacts(told: Mapping[str, Any], model: Path) -> dict[str, str]:
    """Sign what a training left, so that the app loads it without asking; see `signing`.

    Parameters
    ----------
    told
        What the training told: the names of its ``artefacts`` and its ``batch_size``.
    model
        The folder in which they lie.
    """
    try:
        return {
            name: sign((model / name).read_bytes(), batch_size=told["batch_size"])
            for name in told.get("artefacts", [])
        }
    except NoKey as error:
        logger.warning("archives are not signed, so the app will ask before it runs one: %s", error)
        return {}
