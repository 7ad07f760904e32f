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
from torchmodes.workloads.workload import (
    Job,
    Subject,
    configure_process,
    refusing,
    subject_of,
    unsupported,
)


@refusing
def measure_threads(argument: dict[str, Any]) -> dict[str, Any]:
    """Measure a case with one thread against each of several numbers of threads.

    Parameters
    ----------
    argument
        A job (`torchmodes.workloads.workload.Job.of`) with ``table`` and ``counts``; its
        measurement settings are those of a whole case.
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    subject = subject_of(job, argument["table"])
    settings = argument["parameters"]["measurement"]
    return {
        "status": "ok",
        "points": [_compare(subject, job, settings, count) for count in argument["counts"]],
    }


def _compare(subject: Subject, job: Job, settings: dict[str, Any], count: int) -> dict[str, Any]:
    one, several = _with_threads(subject, 1), _with_threads(subject, count)
    sampling = sample(
        one.call,
        several.call,
        clock=ContextClock(make_clock(job.case.device, flush_l2=False), one, several),
        settings=SamplerSettings(
            target_half_width=settings["target_half_width"],
            budget_s=settings["budget_s"],
            warmup_budget_s=settings["warmup_budget_s"],
            min_quads=settings["min_quads"],
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


def _with_threads(subject: Subject, count: int) -> Subject:
    """Return the subject as called with a number of threads."""

    def call() -> Any:
        return subject.call()

    @contextmanager
    def context() -> Generator[None]:
        with subject.context():
            torch.set_num_threads(count)
            subject.call()  # the pool of threads changes its size here, not in what is timed
            yield

    return replace(subject, call=call, context=context)
