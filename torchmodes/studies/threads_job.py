"""What the process of the study of thread scaling does: one thread against n, interleaved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from torchmodes.measure import statistics
from torchmodes.measure.case import ContextClock
from torchmodes.measure.clock import make_clock
from torchmodes.measure.latency import latency
from torchmodes.measure.sampler import SamplerSettings, sample
from torchmodes.planning.job import Job
from torchmodes.workloads.workload import Workload, workload_of


def measure_threads(job: Job, *, counts: list[int]) -> dict[str, Any]:
    """Measure a case with one thread against each of several numbers of threads."""
    workload = workload_of(job)
    return {"status": "ok", "points": [_compare(workload, job, count) for count in counts]}


def _compare(workload: Workload, job: Job, count: int) -> dict[str, Any]:
    settings = job.measurement
    one, several = _with_threads(workload, 1), _with_threads(workload, count)
    sampling = sample(
        one.call,
        several.call,
        clock=ContextClock(make_clock(job.case.device, flush_l2=False), one, several),
        settings=SamplerSettings(
            target_half_width=settings.target_half_width,
            budget_s=settings.budget_s,
            warmup_budget_s=settings.warmup_budget_s,
            min_quads=settings.min_quads,
        ),
        seed=job.seed,
    )
    blocks = sampling.samples.counted
    baseline, candidate = statistics.sides(
        [block.order for block in blocks], [block.seconds for block in blocks]
    )
    measured = statistics.effect(statistics.log_ratios(baseline, candidate))
    return {
        "threads": count,
        "latency_s": latency(candidate).median_s,
        "speed_up": {
            "estimate": measured.speed_up,
            "low": measured.speed_up_low,
            "high": measured.speed_up_high,
        },
    }


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
