"""Two workloads in one process, timed in turn, for studies that compare something besides modes."""

from __future__ import annotations

from typing import Any

from torchmodes.measure import statistics
from torchmodes.measure.case import ContextClock
from torchmodes.measure.clock import make_clock
from torchmodes.measure.latency import latency
from torchmodes.measure.sampler import sample
from torchmodes.planning.job import Job
from torchmodes.workloads.workload import Workload


def compare_workloads(baseline: Workload, candidate: Workload, job: Job) -> dict[str, Any]:
    """Return both median latencies, in seconds, and the speed-up with its 95 % interval."""
    sampling = sample(
        baseline.call,
        candidate.call,
        clock=ContextClock(make_clock(job.case.device), baseline, candidate),
        settings=job.measurement,
        seed=job.seed,
    )
    of_baseline, of_candidate = statistics.sides_of(sampling.samples.counted)
    measured = statistics.effect(statistics.log_ratios(of_baseline, of_candidate))
    return {
        "baseline_s": latency(of_baseline).median_s,
        "latency_s": latency(of_candidate).median_s,
        "speed_up": measured.ratio.model_dump(),
    }
