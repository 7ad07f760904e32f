"""From samples to what a record says of them: statistics, verdict, warnings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torchmodes.measure import statistics
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import Latency, drift, latency, throughput, two_speeds
from torchmodes.measure.load import Load
from torchmodes.measure.sampler import Sampling
from torchmodes.planning.cases import Case

AGAIN = "then delete this record and run snakemake again"


@dataclass(frozen=True)
class NoVerdict:
    """Why nothing is concluded from samples, whatever their interval is, and what to do."""

    reason: str
    remedy: str


def assess(
    case: Case,
    sampling: Sampling,
    *,
    minimum_effect: float,
    floor: float | None,
    extra_s: float,
    load: Load,
    threads: int,
) -> dict[str, Any]:
    """Return the record's ``samples``, ``warmup``, ``statistics``, ``verdict`` and ``warnings``.

    Parameters
    ----------
    case
        What was measured.
    sampling
        The samples.
    minimum_effect
        The smallest relative speed-up that matters.
    floor
        The group's noise floor, a logarithm; None for the A/A case itself, or where there is none.
    extra_s
        Seconds of preparation and first call beyond the baseline's.
    load
        What the machine did while the samples were taken.
    threads
        How many the case computed with; on a GPU they wait, and one is enough.
    """
    orders = [block.order for block in sampling.counted]
    baseline, candidate = statistics.sides(orders, [block.seconds for block in sampling.counted])
    measured = statistics.effect(statistics.log_ratios(baseline, candidate))
    beyond = statistics.margin(minimum_effect=minimum_effect, floor=floor)
    no_floor = floor is None and not case.is_baseline
    drifted = drift(baseline, [block.at_s for block in sampling.counted])
    paid_back = break_even(measured, baseline_s=float(latency(baseline).median_s), extra_s=extra_s)
    calls = sampling.calls_per_sample
    of_baseline = latency(baseline, calls_per_sample=calls)
    of_candidate = latency(candidate, calls_per_sample=calls)
    computing = threads if case.device == "cpu" else 1
    doubt = no_verdict(measured, of_baseline, load, threads=computing)
    judged = statistics.verdict(measured, beyond=beyond)
    return {
        "warmup": asdict(sampling.warmup),
        "samples": {
            "clock": sampling.clock,
            "timer_s": sampling.timer_s,
            "empty_sample_s": sampling.empty_sample_s,
            "calls_per_sample": calls,
            "quads": [asdict(block) for block in sampling.blocks],
        },
        "sampling_s": sampling.seconds,
        "bookkeeping_share": sampling.bookkeeping_share,
        "stopped_s": sampling.stopped_s,
        "load": {
            "cpu_cores_used": load.own,
            "other_load": load.others,
            "stolen": load.stolen,
            "cores_missing": load.missing(computing),
        },
        "verdict": "unresolved" if no_floor or doubt else judged,
        "no_verdict": None if doubt is None else doubt.reason,
        "remedy": None if doubt is None else doubt.remedy,
        "break_even_calls": None
        if paid_back.calls is None
        else {"estimate": paid_back.calls, "low": paid_back.low, "high": paid_back.high},
        "statistics": {
            "speed_up": {
                "estimate": measured.speed_up,
                "low": measured.speed_up_low,
                "high": measured.speed_up_high,
            },
            "half_width": measured.half_width,
            "quads": measured.blocks,
            "converged": sampling.converged,
            "noise_floor": None if floor is None else math.expm1(floor),
            "margin": math.expm1(beyond),
            "p_value": statistics.p_value(measured, beyond=beyond),
            "baseline": asdict(of_baseline),
            "candidate": asdict(of_candidate),
            "throughput_per_s": throughput(candidate, items_per_call=case.batch_size),
            "drift": drifted.change,
            "drifting": drifted.drifting,
            "autocorrelation": measured.autocorrelation,
            "autocorrelated": measured.autocorrelated,
        },
        "warnings": [
            *_warnings(sampling, drifting=drifted.drifting),
            *_busy(load, crowded=load.crowded(computing)),
            *_two_speeds({"eager": of_baseline, "the mode": of_candidate}),
        ],
    }


def no_verdict(
    measured: statistics.Effect, baseline: Latency, load: Load, *, threads: int
) -> NoVerdict | None:
    """Return why nothing may be concluded from some samples, or None where the interval decides.

    Parameters
    ----------
    measured
        The speed-up.
    baseline
        The baseline's latency.
    load
        What the machine did while they were taken.
    threads
        How many the case had use for, at the least.
    """
    if load.crowded(threads):
        return NoVerdict(
            reason=f"{load} while this was measured with"
            f" {threads} thread{'' if threads == 1 else 's'}",
            remedy=f"{_make_room(load, threads)}; {AGAIN}",
        )
    if (factor := two_speeds(baseline)) is not None:
        return NoVerdict(
            reason=f"eager's typical call took {factor:,.0f} times as long as its fastest:"
            " something else decided its time",
            remedy=f"let nothing else run on this machine; {AGAIN}",
        )
    if statistics.says_nothing(measured):
        return NoVerdict(
            reason="the samples are too noisy to say anything",
            remedy=f"let nothing else run, or raise measurement.budget_s; {AGAIN}",
        )
    return None


def _make_room(load: Load, threads: int) -> str:
    if load.others <= load.limit:
        return "use a machine whose cores are its own, or a quieter hour"
    fewer = threads - math.ceil(load.others)
    return "stop them" + (f", or ask for fewer cores (--cores {fewer})" if fewer > 0 else "")


def _busy(load: Load, *, crowded: bool) -> list[str]:
    if not load.noticeable:
        return []
    room = "more than there was room for" if crowded else "beside the case's own threads"
    return [f"the machine was busy: {load}, {room}"]


def _two_speeds(sides: dict[str, Latency]) -> list[str]:
    return [
        f"two speeds: the typical call of {name} took {factor:,.0f} times as long as its fastest"
        for name, side in sides.items()
        if (factor := two_speeds(side)) is not None
    ]


def _warnings(sampling: Sampling, *, drifting: bool) -> list[str]:
    warnings = []
    if sampling.stopped_s:
        left_out = len(sampling.blocks) - len(sampling.counted)
        warnings.append(
            f"the process was stopped for {sampling.stopped_s:.0f} s (a suspended machine, a stop"
            f" signal); of {len(sampling.blocks):,} blocks {left_out:,} in which it was are not"
            " counted"
        )
    if not sampling.warmup.steady:
        warnings.append(
            f"never became steady in {sampling.warmup.seconds:.1f} s of warm-up"
            f" ({sampling.warmup.calls} calls of each side)"
        )
    if not sampling.converged:
        warnings.append("stopped at the time budget before the interval reached its target width")
    if drifting:
        warnings.append("the machine's speed drifted while this was measured")
    return warnings
