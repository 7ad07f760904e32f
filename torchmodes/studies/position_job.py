"""The process of the study of positions: at each, a mode's decode step against eager's."""

from __future__ import annotations

from typing import Any

from torchmodes.planning.job import Job
from torchmodes.studies.side_by_side import compare_workloads
from torchmodes.workloads.workload import Workload, workload_of

POINTS = 4


def measure_positions(job: Job) -> dict[str, Any]:
    """Measure a decode step and eager's, in turn, at each of several positions of the cache."""
    at = positions(**job.model["generation"])
    eager, mode = workload_of(job.baseline()), workload_of(job)
    for side in (eager, mode):
        assert side.decoding is not None, "the task is generation"
        side.decoding.places = tuple(at)  # one walk through the text reaches them all
    return {"status": "ok", "points": [_compare(eager, mode, job, position) for position in at]}


def positions(prompt_length: int, new_tokens: int) -> list[int]:
    """Return up to `POINTS` positions of decode steps, from the first to the last.

    >>> positions(prompt_length=64, new_tokens=33)
    [64, 74, 85, 95]
    """
    last = new_tokens - 2
    return sorted({prompt_length + round(last * k / (POINTS - 1)) for k in range(POINTS)})


def _compare(eager: Workload, mode: Workload, job: Job, position: int) -> dict[str, Any]:
    for side in (eager, mode):
        assert side.decoding is not None, "the task is generation"
        side.decoding.position = position
        side.restart()
    found = compare_workloads(eager, mode, job)
    return {"position": position, "eager_s": found.pop("baseline_s"), **found}
