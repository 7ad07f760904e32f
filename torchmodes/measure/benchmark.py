"""Benchmark a case from outside: start its process, and make a record however that ends.

Nothing here imports PyTorch, so that a job costs little beside its measurement.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from torchmodes.machine.environment import describe_environment
from torchmodes.measure.load import Load, look
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_cold, run_warm
from torchmodes.processes.outcome import Outcome
from torchmodes.processes.workflow import workflow_process
from torchmodes.results.reading import first_fault
from torchmodes.results.records import Known, Measured, Record, Run, same_hardware


def benchmark_case(
    job: Job,
    *,
    log: Path,
    first: Record | None = None,
    ship_to: Path | None = None,
    tell: Callable[[str], object] = lambda message: None,
) -> Record:
    """Measure a case in a process of its own: one run of it.

    A crash, a kill or a hang is a record with status ``failed``. A later run starts from what the
    case's `first` one shipped and compiled, as a deployment does; where that is not ok, no other
    is: it is returned. A first run leaves in `ship_to`, a folder that is made, what a deployment
    takes with it; it stays empty where the case is not ok. Where other programs keep the machine
    busy, `tell` is told beforehand.
    """
    if first is not None and first.status != "ok":
        return first
    environment = describe_environment()  # before: the load at the start is not the case's own
    load = look(workflow_process().pid)
    if load.crowded(job.threads):
        tell(crowded_at_start(load, job.threads))
    started_at = datetime.now(UTC)
    target = "torchmodes.measure.case:measure"
    if first is None:
        options = {} if ship_to is None else {"ship_to": str(ship_to)}
        parts, outcome = run_cold(target, job, log=log, **options)
        if ship_to is not None:
            if parts["status"] != "ok":
                shutil.rmtree(ship_to, ignore_errors=True)
            ship_to.mkdir(parents=True, exist_ok=True)
    else:
        job = loading_here(job, first, environment)
        parts, outcome = run_warm(target, job, log=log, first=False)
    return record_of(parts, outcome, job, started_at=started_at, environment=environment, load=load)


def loading_here(job: Job, first: Record, environment: Mapping[str, Any]) -> Job:
    """Return a job that loads what a first run shipped only where that was compiled for: here."""
    return job if same_hardware(first.environment, environment) else replace(job, shipped=None)


def crowded_at_start(load: Load, threads: int) -> str:
    """Say, before a case is measured, that the machine has no room for it, and what to do."""
    busy = str(load).replace("kept", "keep").replace("took", "takes")
    return (
        f"{busy}, and this case computes with {threads}: while that lasts there will be no verdict."
        " Stop them, or ask for fewer cores."
    )


def record_of(
    result: Mapping[str, Any],
    outcome: Outcome | None,
    job: Job,
    *,
    started_at: datetime,
    environment: Mapping[str, Any],
    load: Load | None = None,
) -> Record:
    """Join what a case's process returned and how it ended into its record."""
    known = Known(case=job.case.identity(), parameters=job.parameters)
    run = Run(
        started_at=started_at.isoformat(timespec="milliseconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        wall_s=outcome.wall_s if outcome else 0.0,
        start_method=outcome.start_method if outcome else "none",
        start_s=outcome.start_s if outcome else 0.0,
        other_load_at_start=None if load is None else load.others,
        threads=job.threads,
    )
    try:
        measured = Measured.model_validate(result)
        if measured.cost is not None and outcome is not None:
            measured.cost.import_s = outcome.import_s
            measured.cost.peak_children_bytes = outcome.peak_children_bytes
        measured.environment = {**environment, **measured.environment}
        whole_run = run.model_copy(update=dict(measured.run))
        return Record.model_validate(dict(known) | dict(measured) | {"run": whole_run})
    except ValidationError as error:  # such as a clock that stood still
        return Record(
            **dict(known),
            run=run,
            environment=dict(environment),
            status="failed",
            reason=f"its process returned what no record can hold ({first_fault(error.errors())})",
            remedy="measure the case again; if that does not help, report it",
        )
