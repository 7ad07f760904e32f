"""Our median latency beside torch.utils.benchmark's, in one process, taken in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.benchmark import Timer

from torchmodes.config.run import Measurement
from torchmodes.measure.clock import make_clock
from torchmodes.measure.latency import latency
from torchmodes.measure.sampler import sample
from torchmodes.measure.statistics import sides_of
from torchmodes.planning.job import Job
from torchmodes.workloads.workload import inference_workload


def compare(job: Job, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Return ``ratios``: per round, our median / the median of ``Timer.blocked_autorange``.

    Which of the two goes first alternates from round to round. Both time one and the same
    callable: beside a second instance it would find less of itself in the caches, which is a
    property of interleaving and not of the clock.
    """
    settings = Measurement(
        target_half_width=1e-6, budget_s=seconds, warmup_budget_s=0.2, min_quads=10
    )
    ratios = []
    with torch.inference_mode():
        one = inference_workload(job)
        timer = Timer("call()", globals={"call": one.call}, num_threads=job.threads)

        def ours(seed: int) -> float:
            taken = sample(
                one.call, one.call, clock=make_clock("cpu"), settings=settings, seed=seed
            )
            baseline, _ = sides_of(taken.samples.counted)
            return latency(baseline).median_s

        def theirs() -> float:
            return timer.blocked_autorange(min_run_time=seconds).median

        for round_ in range(rounds):
            if round_ % 2:
                reference = theirs()
                ratios.append(ours(round_) / reference)
            else:
                ratios.append(ours(round_) / theirs())
    return {"status": "ok", "ratios": ratios}
