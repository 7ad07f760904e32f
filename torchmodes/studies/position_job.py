"""What the process of the study of positions does: a step of a mode against eager's, at each."""

from __future__ import annotations

from typing import Any

from torchmodes.measure import statistics
from torchmodes.measure.case import ContextClock
from torchmodes.measure.clock import make_clock
from torchmodes.measure.latency import latency
from torchmodes.measure.sampler import SamplerSettings, sample
from torchmodes.planning.job import Job
from torchmodes.workloads.workload import Workload, workload_of

POINTS = 5


def measure_positions(job: Job) -> dict[str, Any]:
    """Measure a decode step and eager's, in turn, at each of several positions of the cache."""
    at = positions(**job.model["generation"])
    eager, mode = workload_of(job.baseline()), workload_of(job)
    return {"status": "ok", "points": [_compare(eager, mode, job, position) for position in at]}


def positions(prompt_length: int, new_tokens: int) -> list[int]:
    """Return up to `POINTS` positions of decode steps, from the first to the last.

    >>> positions(prompt_length=64, new_tokens=33)
    [64, 72, 80, 87, 95]
    """
    last = new_tokens - 2
    return sorted({prompt_length + round(last * k / (POINTS - 1)) for k in range(POINTS)})


def _compare(eager: Workload, mode: Workload, job: Job, position: int) -> dict[str, Any]:
    settings = job.measurement
    for side in (eager, mode):
        assert side.decoding is not None, "the task is generation"
        side.decoding.position = position
        side.restart()
    sampling = sample(
        eager.call,
        mode.call,
        clock=ContextClock(make_clock(job.case.device), eager, mode),
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
        "position": position,
        "latency_s": latency(candidate).median_s,
        "eager_s": latency(baseline).median_s,
        "speed_up": {
            "estimate": measured.speed_up,
            "low": measured.speed_up_low,
            "high": measured.speed_up_high,
        },
    }
