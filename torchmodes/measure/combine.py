"""A record of several runs: what each process measured, joined; the interval is over runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchmodes.config import Measurement
from torchmodes.machine.environment import same_hardware
from torchmodes.measure import statistics
from torchmodes.measure.between_runs import Estimate, RunCentre, VariancePrior, over_runs, spread
from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import latency, throughput
from torchmodes.results.records import Block, CaseRun, Interval, Record, Statistics, Usage

ONE_PROCESS = "measured in one process only: its interval does not hold in the next"
_OF_ONE_RUN = ("stopped at the time budget", "no noise floor")
"""What a run says of its own interval, which the record's is not."""


@dataclass(frozen=True)
class _Counted:
    """A run that the statistics are made of."""

    number: int
    record: Record
    blocks: list[Block]
    centre: RunCentre


def combine(runs: Sequence[Record]) -> Record:
    """Join the runs of a case, in order of their numbers, into its record.

    A run that is not ``ok`` makes the record so: what is wrong in one process is wrong. Runs on
    other hardware than the last one's, and runs without a verdict (a busy machine), are kept and
    not counted.

    Parameters
    ----------
    runs
        Records of one process each.

    Raises
    ------
    ValueError
        When there is none, or they are of different cases.
    """
    if not runs:
        raise ValueError("runs: there is none to make a record of")
    if len({run.identity for run in runs}) > 1:
        raise ValueError("runs: they are of different cases")
    first = runs[0]
    if (fault := _fault(runs)) is not None:
        return fault
    if len(runs) == 1:
        return first.model_copy(update={"warnings": [*first.warnings, ONE_PROCESS]})
    left_out = dict(_left_out(runs))
    counted = [
        _counted(number, run) for number, run in enumerate(runs, 1) if number not in left_out
    ]
    warnings = _warnings(runs, left_out)
    if not counted:
        return first.model_copy(update={"warnings": warnings})
    assert first.samples is not None
    blocks = [
        block.model_copy(update={"run": number})
        for number, run in enumerate(runs, 1)
        if run.samples is not None
        for block in run.samples.blocks
    ]
    estimate = over_runs([run.centre for run in counted])
    record = first.model_copy(
        update={
            "samples": first.samples.model_copy(update={"blocks": blocks}),
            "numerics": max(
                (run.numerics for run in runs if run.numerics), key=lambda found: found.error
            ),
            "usage": _mean_usage(run.record.usage for run in counted),
            "baseline_usage": _mean_usage(run.record.baseline_usage for run in counted),
            "runs": [
                _case_run(number, run, left_out.get(number)) for number, run in enumerate(runs, 1)
            ],
            "warnings": warnings,
            "no_verdict": None,
            "remedy": None,
        }
    )
    return with_estimate(record, estimate)


def centres(record: Record) -> list[RunCentre]:
    """Return what each run of a record that counts says of its speed-up."""
    if record.samples is None:
        return []
    out = {run.number for run in record.runs if run.left_out is not None}
    numbers = sorted({block.run for block in record.samples.counted} - out)
    return [
        _centre([block for block in record.samples.counted if block.run == number])
        for number in numbers
    ]


def moderated(record: Record, prior: VariancePrior | None, *, bias: float | None) -> Record:
    """Return a record with the interval and verdict that all cases of its device allow.

    Parameters
    ----------
    record
        Of several runs; any other is returned as it is.
    prior
        Of the variances between runs of those cases.
    bias
        Of the harness, a logarithm.
    """
    runs = centres(record)
    if record.statistics is None or len(runs) < 2:
        return record
    return with_estimate(record, over_runs(runs, prior), bias=bias)


def with_estimate(record: Record, estimate: Estimate, *, bias: float | None = None) -> Record:
    """Return a record whose statistics are those of an estimate over its runs."""
    assert record.samples is not None
    assert record.statistics is not None
    assert record.cost is not None
    out = {run.number for run in record.runs if run.left_out is not None}
    used = [block for block in record.samples.counted if block.run not in out]
    baseline, candidate = _sides(used)
    calls = record.samples.calls_per_sample
    of_baseline = latency(baseline, calls_per_sample=calls)
    settings = _measurement(record)
    beyond = statistics.margin(minimum_effect=settings.minimum_effect, floor=bias)
    half_width = None if estimate.high is None else math.expm1(estimate.high - estimate.centre)
    between = spread(centres(record))
    verdict = statistics.verdict(estimate, beyond=beyond)
    cost, cold_s = record.cost, 0.0
    if cost.prepare_s is not None and cost.first_call_s is not None:
        cold_s = cost.prepare_s + cost.first_call_s - (cost.baseline_first_call_s or 0.0)
    found: Statistics = record.statistics.model_copy(
        update={
            "speed_up": Interval(
                estimate=math.exp(estimate.centre),
                low=None if estimate.low is None else math.exp(estimate.low),
                high=None if estimate.high is None else math.exp(estimate.high),
            ),
            "half_width": half_width,
            "blocks": len(used),
            "converged": half_width is not None and half_width <= settings.target_half_width,
            "noise_floor": None if bias is None else math.expm1(bias),
            "margin": math.expm1(beyond),
            "p_value": statistics.p_value(estimate, beyond=beyond),
            "baseline": of_baseline,
            "candidate": latency(candidate, calls_per_sample=calls),
            "throughput_per_s": throughput(candidate, items_per_call=record.identity.batch_size),
            "runs": len(record.runs) - len(out) or 1,
            "spread": None if between is None else math.expm1(between),
        }
    )
    paid = break_even(estimate, baseline_s=of_baseline.median_s, extra_s=cold_s)
    return record.model_copy(
        update={
            "statistics": found,
            "verdict": verdict if record.no_verdict is None else "unresolved",
            "cost": cost.model_copy(update={"break_even_calls": paid}),
        }
    )


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
        elif run.no_verdict is not None:
            yield number, run.no_verdict


def _counted(number: int, record: Record) -> _Counted:
    assert record.samples is not None
    return _Counted(number, record, record.samples.counted, _centre(record.samples.counted))


def _sides(blocks: Sequence[Block]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return statistics.sides([block.order for block in blocks], [block.seconds for block in blocks])


def _centre(blocks: Sequence[Block]) -> RunCentre:
    effect = statistics.effect(statistics.log_ratios(*_sides(blocks)))
    return RunCentre(effect.centre, effect.standard_error or 0.0)


def _case_run(number: int, record: Record, left_out: str | None) -> CaseRun:
    assert record.statistics is not None
    cost = record.cost
    return CaseRun(
        number=number,
        run=record.run,
        speed_up=record.statistics.speed_up,
        blocks=record.statistics.blocks,
        prepare_s=None if cost is None else cost.prepare_s,
        first_call_s=None if cost is None else cost.first_call_s,
        usage=record.usage,
        baseline_usage=record.baseline_usage,
        left_out=left_out,
    )


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


def _measurement(record: Record) -> Measurement:
    return Measurement.model_validate(record.parameters.get("measurement", {}))
