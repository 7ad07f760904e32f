"""Benchmark a case from outside: start its process, and turn however it ends into a record.

Nothing here imports PyTorch, so that a job costs little beside its measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torchmodes.environment import describe_environment, same_hardware
from torchmodes.jobs import run_cold
from torchmodes.records import Record
from torchmodes.supervision.outcome import Outcome


def benchmark_case(
    parameters: Mapping[str, Any],
    *,
    threads: int,
    log: Path,
    table: Sequence[str] = (),
    operators: str | None = None,
    aa: Record | None = None,
) -> Record:
    """Measure a case in a process of its own.

    Parameters
    ----------
    parameters
        What `torchmodes.cases.case_parameters` returns.
    threads
        Threads the case computes with.
    log
        File for everything its process prints.
    table
        Paths of the table and its statistics; training cases need them.
    operators
        Path of the custom operators, where the mode uses them.
    aa
        The A/A record of the case's group, whose noise floor the verdict is judged against where it
        is one of the same hardware.

    Returns
    -------
    Record
        Always: a crash, a kill or a hang is a record with status ``failed``.
    """
    environment = describe_environment()  # before: the load at the start is not the case's own
    floor, caveats = floor_here(aa, environment)
    started_at = datetime.now(UTC)
    parts, outcome = run_cold(
        "torchmodes.measure.case:measure",
        {
            "parameters": dict(parameters),
            "threads": threads,
            "table": list(table),
            "operators": operators,
            "noise_floor": floor,
        },
        log=log,
    )
    if parts["status"] == "ok":
        parts["warnings"] = [*parts.get("warnings", []), *caveats]
    return record_of(
        parts,
        outcome,
        parameters,
        threads=threads,
        started_at=started_at,
        environment=environment,
    )


def floor_here(aa: Record | None, environment: Mapping[str, Any]) -> tuple[float | None, list[str]]:
    """Return the noise floor that an A/A record shows for a machine, and what to say about that.

    On a cluster the A/A case may have run on another node. Of one with other hardware it says
    nothing about this one, so there is no floor; of one with the same hardware it is taken, with a
    warning.
    """
    if aa is None:
        return None, []
    here, there = (e["machine"]["host"] for e in (environment, aa.environment))
    if not same_hardware(aa.environment, environment):
        return None, [f"the A/A case of this group was measured on other hardware, on {there}"]
    floor = noise_floor(aa)
    if floor is not None and here != there:
        return floor, [f"the noise floor is that of {there}, which has the same hardware"]
    return floor, []


def noise_floor(aa: Record | None) -> float | None:
    """Return the noise floor that an A/A record shows, a logarithm."""
    if aa is None or aa.statistics is None:
        return None
    low, high = aa.statistics.speed_up.low, aa.statistics.speed_up.high
    return None if low is None or high is None else max(abs(math.log(low)), abs(math.log(high)))


def record_of(
    parts: dict[str, Any],
    outcome: Outcome | None,
    parameters: Mapping[str, Any],
    *,
    threads: int,
    started_at: datetime,
    environment: Mapping[str, Any],
) -> Record:
    """Join what a case's process told and how it ended into its record."""
    cost = parts.get("cost")
    if cost is not None and outcome is not None:
        cost |= {
            "import_s": outcome.import_s,
            "peak_children_bytes": outcome.peak_children_bytes,
            "break_even_calls": parts.pop("break_even_calls", None),
            **parts.pop("load", {}),
        }
    run = {
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "wall_s": outcome.wall_s if outcome else 0.0,
        "start_method": outcome.start_method if outcome else "none",
        "start_s": outcome.start_s if outcome else 0.0,
        "sampling_s": parts.pop("sampling_s", None),
        "bookkeeping_share": parts.pop("bookkeeping_share", None),
        "threads": threads,
        "torch_threads": parts.pop("torch_threads", None),
    }
    return Record(
        case=parameters["case"],
        parameters=dict(parameters),
        run=run,
        environment={**environment, **parts.pop("environment", {})},
        **parts,
    )
