"""From samples to a record's statistics, verdict and warnings."""

from __future__ import annotations

import math

from torchmodes.measure import statistics
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import drift, latency, two_speeds
from torchmodes.measure.load import Load
from torchmodes.measure.sampler import Sampling
from torchmodes.measure.schedules import items_per_second, levelled
from torchmodes.planning.cases import Case
from torchmodes.results.records import Cost, Latency, Measured, Statistics

AGAIN = "then delete its folder in results/runs and run snakemake again"


def assess(
    case: Case,
    sampling: Sampling,
    *,
    minimum_effect: float,
    extra_s: float,
    load: Load,
    threads: int,
) -> Measured:
    """Conclude from the samples of a case: whatever its record says because of them.

    `extra_s` are the seconds of preparation and first call beyond the baseline's, the load is that
    of the machine while the samples were taken. On a GPU the threads wait, and one is enough.
    """
    samples = sampling.samples
    baseline, candidate = statistics.sides_of(samples.counted)
    effect = statistics.effect(statistics.log_ratios(baseline, candidate))
    beyond = statistics.margin(minimum_effect=minimum_effect)
    level = levelled(baseline, samples.counted)
    drifted = drift(level, [block.at_s for block in samples.counted])
    of_baseline, of_candidate = (
        latency(calls, calls_per_sample=samples.calls_per_sample)
        for calls in statistics.every_call(samples.counted)
    )
    level_baseline = latency(level)
    computing = threads if case.device == "cpu" else 1
    result = Measured(
        status="ok",
        verdict=statistics.verdict(effect, beyond=beyond),
        run=sampling.run,
        warmup=sampling.warmup,
        samples=samples,
        statistics=Statistics(
            speed_up=effect.ratio,
            half_width=effect.half_width,
            blocks=effect.blocks,
            converged=sampling.converged,
            noise_floor=None,
            margin=math.expm1(beyond),
            p_value=statistics.p_value(effect, beyond=beyond),
            baseline=of_baseline,
            candidate=of_candidate,
            throughput_per_s=items_per_second(
                candidate, samples.counted, items_per_call=case.batch_size
            ),
            drift=drifted.change,
            drifting=drifted.drifting,
            autocorrelation=effect.autocorrelation,
            autocorrelated=effect.autocorrelated,
        ),
        cost=Cost(
            cpu_cores_used=load.own,
            other_load=load.others,
            stolen=load.stolen,
            cores_missing=load.missing(computing),
            break_even_calls=break_even(effect, baseline_s=of_baseline.median_s, extra_s=extra_s),
        ),
    )
    result.warnings = _warnings(sampling, drifting=drifted.drifting)
    if load.noticeable:
        crowded = load.crowded(computing)
        room = "more than there was room for" if crowded else "beside the case's own threads"
        result.warnings += [f"the machine was busy: {load}, {room}"]
    level_candidate = latency(levelled(candidate, samples.counted))
    result.warnings += [
        f"two speeds: the typical call of {name} took {factor:,.0f} times as long as its fastest"
        for name, side in (("eager", level_baseline), ("the mode", level_candidate))
        if (factor := two_speeds(side)) is not None
    ]
    doubt_samples(result, effect, level_baseline, load, threads=computing)
    return result


def doubt_samples(
    result: Measured,
    measured: statistics.Estimate,
    baseline: Latency,
    load: Load,
    *,
    threads: int,
) -> None:
    """Withhold the verdict where nothing may be concluded, whatever the interval is."""
    if load.crowded(threads):
        result.withhold_verdict(
            f"{load} while this was measured with {threads} thread{'' if threads == 1 else 's'}",
            f"{_make_room(load, threads)}; {AGAIN}",
        )
    elif (factor := two_speeds(baseline)) is not None:
        result.withhold_verdict(
            f"eager's typical call took {factor:,.0f} times as long as its fastest:"
            " something else decided its time",
            f"let nothing else run on this machine; {AGAIN}",
        )
    elif measured.says_nothing:
        result.withhold_verdict(
            "the samples are too noisy to say anything",
            f"let nothing else run, or raise measurement.budget_s; {AGAIN}",
        )


def _make_room(load: Load, threads: int) -> str:
    if load.others <= load.limit:
        return "use a machine whose cores are not shared, or a quieter hour"
    fewer = threads - math.ceil(load.others)
    return "stop them" + (f", or ask for fewer cores (--cores {fewer})" if fewer > 0 else "")


def _warnings(sampling: Sampling, *, drifting: bool) -> list[str]:
    warnings = []
    if sampling.run.stopped_s:
        taken = len(sampling.samples.blocks)
        left_out = taken - len(sampling.samples.counted)
        warnings.append(
            f"the process was stopped for {sampling.run.stopped_s:.0f} s (a suspended machine, a"
            f" stop signal); {left_out:,} of {taken:,} blocks were interrupted and are not counted"
        )
    if not sampling.warmup.steady:
        warnings.append(
            f"never became steady in {sampling.warmup.seconds:.2f} s of warm-up"
            f" (calls of each side: {sampling.warmup.calls})"
        )
    if not sampling.converged:
        warnings.append("stopped at the time budget before the interval reached its target width")
    if drifting:
        warnings.append("the machine's speed drifted while this was measured")
    return warnings
