"""Join the runs of a case, each from a process of its own, into one record with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from torchmodes.config.run import Measurement
from torchmodes.measure import statistics
from torchmodes.measure.between_runs import RunCentre, VariancePrior, over_runs, spread
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import latency, two_speeds
from torchmodes.measure.schedules import NOT_EVERY_BATCH, items_per_second, with_times
from torchmodes.measure.statistics import Estimate
from torchmodes.results.records import (
    Block,
    CaseRun,
    Cost,
    Generation,
    Numerics,
    Record,
    Samples,
    TimedPart,
    Usage,
    same_hardware,
)

ONE_PROCESS = "measured in one process only: its interval does not hold in the next"
MOST_MISSING = 0.25
"""Cores that a run may have lacked and still count. More makes a mode look 100 times faster."""
OF_A_FIRST_RUN = {
    *("input_sets", "seed_distance", "gradient_error", "gradient_tolerance"),
    *("parameter_error", "parameter_tolerance"),
}
"""What later runs do not repeat of the numerics."""
_OF_ONE_RUN = ("stopped at the time budget", "no noise floor", NOT_EVERY_BATCH)
"""What a run says of its own interval, which the record's is not."""


def combine(runs: Sequence[Record], *, looks: int = 0) -> Record:
    """Join the runs of a case, in order of their numbers, into its record.

    A run that is not ``ok`` makes the record so: what is wrong in one process is wrong. Runs on
    other hardware than the last one's, and runs without a verdict (a busy machine), are kept and
    not counted. `looks` says how often runs were added because the answer was open.
    """
    first = runs[0]
    if (fault := _fault(runs)) is not None:
        return fault
    if len(runs) == 1:
        return first.model_copy(update={"warnings": [*first.warnings, ONE_PROCESS]})
    left_out = dict(_left_out(runs))
    counted = [run for number, run in enumerate(runs, 1) if number not in left_out]
    blocks = [
        block.model_copy(update={"run": number})
        for number, run in enumerate(runs, 1)
        for block in _samples(run).blocks
    ]
    record = first.model_copy(
        update={
            "samples": _samples(first).model_copy(update={"blocks": blocks}),
            "numerics": _numerics(runs),
            "generation": _generation(first, counted),
            "usage": _mean_usage(run.usage for run in counted),
            "baseline_usage": _mean_usage(run.baseline_usage for run in counted),
            "runs": [_case_run(n, run, left_out.get(n)) for n, run in enumerate(runs, 1)],
            "warnings": _warnings(runs, left_out),
        }
    )
    if not counted:
        return record
    in_statistics = [b for b in blocks if not b.interrupted and b.run not in left_out]
    record = with_estimate(_with_times(record, in_statistics, looks), over_runs(centres(record)))
    for run in runs:
        if run.doubted:
            doubt = {name: getattr(run, name) for name in ("no_verdict", "remedy", "doubted")}
            return record.model_copy(update=doubt | {"verdict": "unresolved"})
    return record


def _with_times(record: Record, counted: Sequence[Block], looks: int) -> Record:
    """Return a record with the latencies of the blocks that count, and the looks at them."""
    assert record.statistics is not None
    baseline, candidate = (
        latency(calls, calls_per_sample=_samples(record).calls_per_sample)
        for calls in statistics.every_call(counted)
    )
    times = {
        "blocks": len(counted),
        "looks": looks,
        "baseline": baseline,
        "candidate": candidate,
        "throughput_per_s": items_per_second(
            statistics.sides_of(counted)[1], counted, items_per_call=record.identity.batch_size
        ),
    }
    found = record.statistics.model_copy(update=times)
    return record.model_copy(
        update={
            "statistics": found,
            "schedule": record.schedule and with_times(record.schedule, counted),
            "no_verdict": None,
            "remedy": None,
            "verdict": None,
        }
    )


def centres(record: Record) -> list[RunCentre]:
    """Return what each run of a record that counts says of its speed-up."""
    return [
        RunCentre(run.log_speed_up, run.standard_error)
        for run in record.runs
        if run.left_out is None
    ]


def moderated(record: Record, prior: VariancePrior | None, *, bias: float | None) -> Record:
    """Return a record with the interval and verdict that all cases of its device allow.

    The prior is of the variances between runs of those cases, the bias that of the harness, a
    logarithm. A record of one run is returned as it is.
    """
    runs = centres(record)
    if record.statistics is None or len(runs) < 2:
        return record
    return with_estimate(record, over_runs(runs, prior), bias=bias)


def with_estimate(record: Record, estimate: Estimate, *, bias: float | None = None) -> Record:
    """Return a record whose speed-up and verdict are those of an estimate over its runs."""
    assert record.statistics is not None
    settings = Measurement.model_validate(record.parameters.get("measurement", {}))
    beyond = statistics.margin(minimum_effect=settings.minimum_effect, floor=bias)
    half_width = estimate.half_width
    counted = centres(record)
    between = spread(counted)
    p_value = statistics.spent(
        statistics.p_value(estimate, beyond=beyond), looks=record.statistics.looks
    )
    found = record.statistics.model_copy(
        update={
            "speed_up": estimate.ratio,
            "half_width": half_width,
            "converged": half_width is not None and half_width <= settings.target_half_width,
            "noise_floor": None if bias is None else math.expm1(bias),
            "margin": math.expm1(beyond),
            "p_value": p_value,
            "runs": len(counted),
            "standard_error": estimate.standard_error,
            "degrees_of_freedom": estimate.degrees_of_freedom,
            "spread": None if between is None else math.expm1(between),
        }
    )
    claimed = statistics.verdict(estimate, beyond=beyond)
    verdict = statistics.survivor(claimed, adjusted_p=p_value)
    return record.model_copy(
        update={
            "statistics": found,
            "verdict": verdict if record.no_verdict is None else "unresolved",
            "cost": _paid_back(record, estimate),
        }
    )


def _paid_back(record: Record, estimate: Estimate) -> Cost | None:
    cost = record.cost
    if cost is None or cost.prepare_s is None or cost.first_call_s is None:
        return cost
    assert record.statistics is not None
    extra_s = cost.prepare_s + cost.first_call_s - (cost.baseline_first_call_s or 0.0)
    calls = break_even(estimate, baseline_s=record.statistics.baseline.median_s, extra_s=extra_s)
    return cost.model_copy(update={"break_even_calls": calls})


def _fault(runs: Sequence[Record]) -> Record | None:
    """Return the run that decides that the case is not ok, saying which run it is."""
    for status in ("wrong", "failed", "unsupported"):
        for number, run in enumerate(runs, 1):
            if run.status == status:
                if all(other.status == status for other in runs):
                    return run
                told = f"run {number} of {len(runs)}: {run.reason}"
                return run.model_copy(update={"reason": told})
    return None


def _left_out(runs: Sequence[Record]) -> Iterable[tuple[int, str]]:
    _, last = max(enumerate(runs), key=lambda numbered: (numbered[1].run.started_at, numbered[0]))
    for number, run in enumerate(runs, 1):
        if not same_hardware(run.environment, last.environment):
            yield number, "it was measured on other hardware"
        elif run.no_verdict is not None and not _tolerable(run):
            yield number, run.no_verdict


def _tolerable(run: Record) -> bool:
    """Tell whether what spoilt a run's own verdict shows in its error or between the runs."""
    if run.statistics is None or two_speeds(run.statistics.baseline) is not None:
        return False
    if run.statistics.speed_up.says_nothing:
        return True
    missing = None if run.cost is None else run.cost.cores_missing
    return missing is not None and 0 < missing <= MOST_MISSING


def _samples(record: Record) -> Samples:
    assert record.samples is not None, "an ok run has samples"
    return record.samples


def _case_run(number: int, record: Record, left_out: str | None) -> CaseRun:
    sides = statistics.sides_of(_samples(record).counted)
    effect = statistics.effect(statistics.log_ratios(*sides))
    cost = record.cost or Cost()
    return CaseRun(
        number=number,
        run=record.run,
        log_speed_up=effect.centre,
        standard_error=effect.independent_error or 0.0,
        prepare_s=cost.prepare_s,
        first_call_s=cost.first_call_s,
        peak_host_bytes=cost.peak_host_bytes,
        usage=record.usage,
        baseline_usage=record.baseline_usage,
        left_out=left_out,
    )


def _generation(first: Record, counted: Sequence[Record]) -> Generation | None:
    """Return the first run's generation, with the speed-ups of its parts over those that count."""
    found = [run.generation for run in counted if run.generation is not None]
    if first.generation is None or len(found) < 2:
        return first.generation
    joined = {name: _part([getattr(one, name) for one in found]) for name in ("prefill", "whole")}
    shares = {
        name: median(known)
        for name in ("accounted", "baseline_accounted", "of_reference")
        if (known := [share for one in found if (share := getattr(one, name)) is not None])
    }
    return first.generation.model_copy(update=joined | shares)


def _part(parts: Sequence[TimedPart]) -> TimedPart:
    """Join what several runs timed: the interval is over them, the latencies are the first's."""
    over = over_runs([RunCentre(p.log_speed_up, p.standard_error or 0.0) for p in parts])
    return parts[0].model_copy(update={"speed_up": over.ratio})


def _numerics(runs: Sequence[Record]) -> Numerics:
    """Return the worst of the runs, with what the first alone compares of a training step."""
    found = [run.numerics for run in runs if run.numerics is not None]
    first = found[0].model_dump(include=OF_A_FIRST_RUN)
    return max(found, key=lambda numerics: numerics.error).model_copy(update=first)


def _mean_usage(usages: Iterable[Usage | None]) -> Usage | None:
    known = [usage for usage in usages if usage is not None]
    if not known:
        return None
    shares = [usage.system_share for usage in known if usage.system_share is not None]
    return Usage(
        minor_faults=sum(usage.minor_faults for usage in known) / len(known),
        involuntary_switches=sum(usage.involuntary_switches for usage in known) / len(known),
        system_share=sum(shares) / len(shares) if shares else None,
    )


def _warnings(runs: Sequence[Record], left_out: dict[int, str]) -> list[str]:
    said = dict.fromkeys(
        warning for run in runs for warning in run.warnings if not warning.startswith(_OF_ONE_RUN)
    )
    return [*said, *(f"run {number} is not counted: {why}" for number, why in left_out.items())]
