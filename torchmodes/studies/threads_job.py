"""The process of the study of thread scaling: one thread against n, interleaved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from torchmodes.planning.job import Job
from torchmodes.studies.side_by_side import compare_workloads
from torchmodes.workloads.workload import Workload, workload_of


def measure_threads(job: Job, *, counts: list[int]) -> dict[str, Any]:
    """Measure a case with one thread against each of several numbers of threads."""
    workload = workload_of(job)
    return {"status": "ok", "points": [_compare(workload, job, count) for count in counts]}


def _compare(workload: Workload, job: Job, count: int) -> dict[str, Any]:
    found = compare_workloads(_with_threads(workload, 1), _with_threads(workload, count), job)
    return {"threads": count, "latency_s": found["latency_s"], "speed_up": found["speed_up"]}


def _with_threads(workload: Workload, count: int) -> Workload:
    """Return the workload as called with a number of threads."""

    def call() -> Any:
        return workload.call()

    @contextmanager
    def context() -> Generator[None]:
        with workload.context():
            torch.set_num_threads(count)
            workload.call()  # the pool of threads changes its size here, not in what is timed
            yield

    return replace(workload, call=call, context=context)
