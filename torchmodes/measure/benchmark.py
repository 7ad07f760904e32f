"""Benchmark a case from outside: start its process, and turn however it ends into a record.

Nothing here imports PyTorch, so that a job costs little beside its measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from torchmodes.machine.environment import describe_environment, same_hardware
from torchmodes.measure.load import Load, look
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_cold
from torchmodes.processes.outcome import Outcome
from torchmodes.processes.workflow import workflow_process
from torchmodes.results.reading import first_fault
from torchmodes.results.records import Known, Measured, Record, Run


def benchmark_case(
    job: Job,
    *,
    log: Path,
    aa: Record | None = None,
    tell: Callable[[str], object] = lambda message: None,
) -> Record:
    """Measure a case in a process of its own.

    Parameters
    ----------
    job
        The case.
    log
        File for everything its process prints.
    aa
        The A/A record of the case's group, whose noise floor the verdict is judged against where it
        is one of the same hardware.
    tell
        Told beforehand where other programs keep the machine busy.

    Returns
    -------
    Record
        Always: a crash, a kill or a hang is a record with status ``failed``.
    """
    environment = describe_environment()  # before: the load at the start is not the case's own
    load = look(workflow_process().pid)
    if load.crowded(job.threads):
        tell(crowded_at_start(load, job.threads))
    floor, caveats = floor_here(aa, environment, job.threads)
    started_at = datetime.now(UTC)
    parts, outcome = run_cold("torchmodes.measure.case:measure", job, log=log, noise_floor=floor)
    return record_of(
        parts,
        outcome,
        job,
        started_at=started_at,
        environment=environment,
        load=load,
        caveats=caveats,
    )


def crowded_at_start(load: Load, threads: int) -> str:
    """Say, before a case is measured, that the machine has no room for it, and what to do."""
    busy = str(load).replace("kept", "keep").replace("took", "takes")
    return (
        f"{busy}, and this case computes with {threads}: while that lasts there will be no verdict."
        " Stop them, or ask for fewer cores."
    )


def floor_here(
    aa: Record | None, environment: Mapping[str, Any], threads: int
) -> tuple[float | None, list[str]]:
    """Return the noise floor that an A/A record shows for a machine, and what to say about that.

    On a cluster the A/A case may have run on another node, and anywhere with another number of
    threads. Of other hardware or threads it says nothing about this case, so there is no floor; of
    another node with the same hardware it is taken, with a warning.
    """
    if aa is None:
        return None, []
    if aa.statistics is None:
        return _no_floor("has no result")
    here, there = (_host(e) or "a container" for e in (environment, aa.environment))
    if not same_hardware(aa.environment, environment):
        return _no_floor(f"was measured on other hardware, on {there}")
    if aa.run.threads != threads:
        return _no_floor(f"was measured with {aa.run.threads} threads, not {threads}")
    if aa.statistics.speed_up.says_nothing:
        return _no_floor("is too noisy to say anything")
    floor = noise_floor(aa.statistics.speed_up.low, aa.statistics.speed_up.high)
    if floor is None:
        return _no_floor("has too few blocks for an interval: raise measurement.budget_s")
    if here != there:
        return floor, [f"the noise floor is that of {there}, which has the same hardware"]
    return floor, []


def noise_floor(low: float | None, high: float | None) -> float | None:
    """Return the largest effect that an A/A case leaves possible: max(|low|, |high|), a logarithm.

    Parameters
    ----------
    low, high : float or None
        Bounds of the speed-up of a case that compares eager with a second eager instance.

    Returns
    -------
    float or None
        None where the case had too few blocks for an interval.
    """
    if low is None or high is None:
        return None
    return max(abs(math.log(low)), abs(math.log(high)))


def _host(environment: Mapping[str, Any]) -> str | None:
    machine = environment.get("machine")
    return machine.get("host") if isinstance(machine, Mapping) else None


def _no_floor(reason: str) -> tuple[None, list[str]]:
    return None, [f"no noise floor: the A/A case of this group {reason}"]


def record_of(
    result: Mapping[str, Any],
    outcome: Outcome | None,
    job: Job,
    *,
    started_at: datetime,
    environment: Mapping[str, Any],
    load: Load | None = None,
    caveats: Sequence[str] = (),
) -> Record:
    """Join what a case's process returned and how it ended into its record.

    Parameters
    ----------
    caveats
        Warnings for a case that is ok.
    """
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
        if measured.status == "ok":
            measured.warnings = [*measured.warnings, *caveats]
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
