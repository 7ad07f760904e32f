"""From samples to what a record says of them: statistics, verdict, warnings."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from torchmodes.cases import Case
from torchmodes.measure import statistics
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import drift, latency, throughput
from torchmodes.measure.sampler import Sampling


def assess(
    case: Case, sampling: Sampling, *, minimum_effect: float, floor: float | None, extra_s: float
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
    """
    orders = [quad.order for quad in sampling.quads]
    baseline, candidate = statistics.sides(orders, [quad.seconds for quad in sampling.quads])
    measured = statistics.effect(statistics.log_ratios(baseline, candidate))
    beyond = statistics.margin(minimum_effect=minimum_effect, floor=floor)
    no_floor = floor is None and not case.is_baseline
    drifted = drift(baseline, [quad.at_s for quad in sampling.quads])
    paid_back = break_even(measured, baseline_s=float(latency(baseline).median_s), extra_s=extra_s)
    calls = sampling.calls_per_sample
    return {
        "warmup": asdict(sampling.warmup),
        "samples": {
            "clock": sampling.clock,
            "timer_s": sampling.timer_s,
            "empty_sample_s": sampling.empty_sample_s,
            "calls_per_sample": calls,
            "quads": [asdict(quad) for quad in sampling.quads],
        },
        "sampling_s": sampling.seconds,
        "bookkeeping_share": sampling.bookkeeping_share,
        "verdict": "unresolved" if no_floor else statistics.verdict(measured, beyond=beyond),
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
            "quads": measured.quads,
            "converged": sampling.converged,
            "noise_floor": None if floor is None else math.expm1(floor),
            "margin": math.expm1(beyond),
            "p_value": statistics.p_value(measured, beyond=beyond),
            "baseline": asdict(latency(baseline, calls_per_sample=calls)),
            "candidate": asdict(latency(candidate, calls_per_sample=calls)),
            "throughput_per_s": throughput(candidate, items_per_call=case.batch_size),
            "drift": drifted.change,
            "drifting": drifted.drifting,
            "autocorrelation": measured.autocorrelation,
            "autocorrelated": measured.autocorrelated,
        },
        "warnings": _warnings(sampling, drifting=drifted.drifting),
    }


def _warnings(sampling: Sampling, *, drifting: bool) -> list[str]:
    warnings = []
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
