"""Measure one case in a process of its own; `docs/measuring.md` explains the order of the steps.

The candidate comes first, so that its cost is measured before the baseline touches the process.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchmodes.machine.environment import torch_build
from torchmodes.machine.peaks import PLAUSIBLE_RATE, quick_peak
from torchmodes.measure import generation, gpu, memory
from torchmodes.measure.agreement import agreement
from torchmodes.measure.assess import assess
from torchmodes.measure.clock import Call, Clock, Timing, make_clock
from torchmodes.measure.energy import measure_energy
from torchmodes.measure.exactness import exactness
from torchmodes.measure.first_calls import (
    WarmedUp,
    first_call,
    first_pass,
    start_libraries,
    tracer_warnings,
    warmed_up,
)
from torchmodes.measure.gradients import Diverged, compare_gradients
from torchmodes.measure.input_sets import InputSets, feed
from torchmodes.measure.load import load_between, read_counters
from torchmodes.measure.numerics import MAKE_FINITE
from torchmodes.measure.process_state import ProcessState, changes, process_state
from torchmodes.measure.quality import (
    TRY_IT,
    data_may_judge,
    quality,
    undecided,
    wider_tolerance,
)
from torchmodes.measure.recall import recall
from torchmodes.measure.sampler import OWN_THREADS, SHARED_THREADS, sample
from torchmodes.measure.schedules import cautions_of, compiled_graphs, describe
from torchmodes.measure.spot_checks import SpotChecks
from torchmodes.measure.usage import UsageMeter, churn
from torchmodes.measure.verification import (
    BEFORE_SAMPLING,
    MODE_REMEDY,
    cautions,
    compare_again,
    compare_first,
    leak,
    one_model,
    surprises,
    unseen,
    wrong,
)
from torchmodes.planning.job import Job
from torchmodes.processes.memory import own_memory
from torchmodes.results.reasons import reason_of
from torchmodes.results.records import Cost, Energy, Gpu, Measured
from torchmodes.workloads.batches import vary
from torchmodes.workloads.models.evaluation import EvaluationFault
from torchmodes.workloads.models.flops import count_flops
from torchmodes.workloads.modes.precision import instructions
from torchmodes.workloads.workload import Workload, workload_of

ENERGY_BLOCK_S = 2.0
LEAST_WARMUP_S = 0.01
"""Of warming up after the first comparisons, which are calls of both sides, too."""


class ContextClock:
    """A clock that enters the context of what it times, outside of the time it takes.

    Outside of it, `fresh` inputs are copied into a workload's own before each sample, for a model
    that changes them, and `checks` look at outputs: of a schedule, at those of its first batch.
    `calls` says how often each workload was called, `usage` what that took of the system.
    """

    def __init__(
        self,
        clock: Clock,
        *workloads: Workload,
        fresh: InputSets | None = None,
        checks: SpotChecks | None = None,
    ) -> None:
        self.name, self.timer_s, self.groupable = clock.name, clock.timer_s, clock.groupable
        self.events = clock.events
        self._clock, self._fresh, self.checks = clock, fresh, checks
        self._workloads = {workload.call: workload for workload in workloads}
        self._number = 0
        self.calls = Counter[Call]()
        self.usage = {workload.call: UsageMeter() for workload in workloads}

    def take(self, number: int) -> None:
        """Let the next calls of all workloads take this batch of their schedule."""
        for workload in self._workloads.values():
            self._number = number % len(workload.batches)
            workload.take(number)

    def time(self, call: Call, calls: int, *, events: bool = False) -> Timing:
        """Time `calls` calls; see `torchmodes.measure.clock.Clock`."""
        workload = self._workloads.get(call)
        if workload is None:
            return self._clock.time(call, calls, events=events)
        if self._fresh is not None:
            feed(workload, self._fresh, self._number)
        self.calls[call] += calls
        meter = self.usage[call]
        with workload.context():
            meter.begin()
            timing = self._clock.time(call, calls, events=events)
            meter.end(calls)
        if self.checks is not None and self._number == 0:
            self.checks.look(call, timing.output)
        return replace(timing, output=None)


def measure(job: Job, *, first: bool = True, ship_to: str | None = None) -> dict[str, Any]:
    """Measure a case, and return a `torchmodes.results.records.Measured` as JSON values.

    Its first run also tells what another would only repeat: operations of a call, bytes of what is
    shipped, equality on further inputs before sampling, gradients. `ship_to` is a folder for what a
    deployment takes with it; a training leaves it as it is.
    """
    folder = None if ship_to is None or job.case.task == "training" else Path(ship_to)
    return _measure(job, first=first, ship_to=folder).model_dump(mode="json")


def _measure(job: Job, *, first: bool, ship_to: Path | None) -> Measured:
    start_libraries(job)
    shared = process_state()
    resident = own_memory().resident_bytes
    with tracer_warnings() as traced:
        candidate = warmed_up(job)
    peak_host_bytes = max(0, own_memory().peak_bytes - resident)
    allocated, reserved = memory.device_memory(job.case.device)
    training = job.case.task == "training"
    baseline = warmed_up(job.baseline(), watched=True, steps=candidate.steps)
    others = BEFORE_SAMPLING if first else ()
    result = _judge(job, shared, baseline, candidate, others)
    result.item = candidate.workload.built.item
    result.run.torch_threads = torch.get_num_threads()
    result.environment = {"torch_build": torch_build()}  # whole only where PyTorch is imported
    warnings = cautions(traced, baseline, of_model=job.case.is_baseline) + result.warnings
    if job.case.task == "inference" and first and not vary(baseline.workload.batches):
        counted = count_flops(baseline.workload.built)  # nothing is timed now
        result.flops = counted.total
        if counted.fault:  # it was still measured
            warnings.append(f"its operations were not counted: {counted.fault}")
        _doubt_rate(job, result)
    cost = result.cost or Cost()
    cost.build_s = candidate.workload.build_s
    cost.prepare_s = candidate.workload.prepare_s
    cost.first_call_s = candidate.first_call_s
    cost.baseline_first_call_s = baseline.first_call_s
    cost.peak_host_bytes = peak_host_bytes
    cost.parameter_bytes = candidate.workload.built.parameter_bytes
    cost.cuda_allocated_bytes, cost.cuda_reserved_bytes = allocated, reserved
    if first:
        cost.artefact_bytes = _ship(candidate.workload, ship_to, warnings)
    result.cost = cost
    facts = candidate.workload.engine.stats()
    if ship_to is not None and cost.artefact_bytes is not None:
        facts["shipped"] = str(ship_to)
    result.warnings = [*warnings, *facts.pop("warnings", [])]
    result.no_effect = facts.pop("no_effect", None)
    if job.case.device == "cpu" and (by := instructions(job.case.precision)):
        facts["instructions"] = by
    result.facts = facts
    if first and result.statistics is not None:
        eager_s = result.statistics.baseline.median_s
        if training:
            del candidate, baseline  # other instances take their place
            _judge_gradients(job, result, eager_s)
        else:
            _judge_further(job, result, baseline, candidate, eager_s)
    return result


def _judge_gradients(job: Job, result: Measured, baseline_step_s: float) -> None:
    """Compare gradients and parameters, and withdraw what was timed where they are wrong."""
    assert result.numerics is not None
    numerics = result.numerics
    try:
        numerics, warnings = compare_gradients(job, numerics, baseline_step_s=baseline_step_s)
    except Diverged as fault:
        told = {"within_tolerance": False, "reason": str(fault)}
        result.numerics = numerics.model_copy(update=told)
        result.withdraw(str(fault), MAKE_FINITE)
        return
    result.numerics = numerics
    result.warnings = [*result.warnings, *warnings]
    if numerics.reason is not None:
        result.withdraw(numerics.reason, MODE_REMEDY)


def start(job: Job) -> dict[str, Any]:
    """Start a case and measure nothing but that: preparation and first call, in seconds."""
    start_libraries(job)
    workload = workload_of(job)
    with workload.context():
        _, first_call_s = first_call(workload, job)
    first_call_s += first_pass(workload, job)
    return {"status": "ok", "prepare_s": workload.prepare_s, "first_call_s": first_call_s}


def _judge(
    job: Job,
    shared: ProcessState,
    baseline: WarmedUp,
    candidate: WarmedUp,
    others: tuple[int, ...],
) -> Measured:
    """Judge whether the candidate is right, on other inputs too; time it, and judge again."""
    if refused := one_model(baseline, candidate):
        return refused
    if baseline.growth:
        return Measured(
            status="unsupported",
            reason=f"the model's state grows at every call: {baseline.growth}",
            remedy="let each call begin from a fresh state, or measure one step of a fixed size",
        )
    began = time.monotonic()
    generates = job.case.task == "generation"  # which compares logits of every step of other texts
    numerics = compare_first(job, baseline, candidate, () if generates else others)
    told = tokens = None
    if generates:
        tokens = generation.compare_tokens(job, baseline, candidate, others[:1])
        numerics = generation.judged(job, tokens, numerics)
        told = generation.generation(job, candidate, tokens)
    warmed_up_s = time.monotonic() - began  # both sides were called in turn
    if leaked := _changed(shared, baseline, candidate):
        return leak(leaked, of_model=job.case.is_baseline)
    scored = wider = usual = None
    if data_may_judge(job, numerics):
        try:
            scored = quality(job, baseline, candidate)
        except EvaluationFault as fault:
            return Measured(status="failed", reason=str(fault), remedy=TRY_IT, numerics=numerics)
        assert scored is not None
        wider = wider_tolerance(numerics, scored)
        if wider is None:
            reason = f"{numerics.reason}; {undecided(scored)}"
            numerics = numerics.model_copy(update={"reason": reason})
        else:
            usual = numerics.tolerance
            numerics = compare_first(job, baseline, candidate, others, wider)
    if not numerics.within_tolerance:
        found = wrong(job, baseline, numerics)
        if scored is not None and scored.examples_needed is not None:
            found.remedy = f"give `quality` {scored.examples_needed:,} examples, or {found.remedy}"
        found.generation = told
        return found
    sampled, clock = _sample(job, baseline, candidate, warmed_up_s=warmed_up_s, tolerance=wider)
    if leaked := _changed(shared, baseline, candidate):
        return leak(leaked, of_model=job.case.is_baseline)
    if clock.checks is not None and clock.checks.wrong is not None:
        of_eager = job.case.is_baseline or clock.checks.of == baseline.workload.call
        return wrong(job, baseline, clock.checks.wrong, of_eager=of_eager)
    numerics = compare_again(job, baseline, candidate, numerics, clock.calls, wider)
    if not numerics.within_tolerance:
        return wrong(job, baseline, numerics)
    _doubt_memory(sampled, clock, baseline, candidate)
    sampled.numerics = numerics.model_copy(update={"usual_tolerance": usual})
    sampled.quality = scored
    sampled.warnings += surprises(job, baseline, candidate) + unseen(job, baseline, candidate)
    sampled.energy = _energy(job, candidate)
    if told is not None and tokens is not None and sampled.statistics is not None:
        sampled.agreement = generation.choices(job, tokens)
        sampled.generation = generation.with_parts(job, told, baseline, candidate)
        sampled.warnings += generation.cautions(
            sampled.generation, quiet=sampled.no_verdict is None
        )
    return sampled


def _changed(shared: ProcessState, baseline: WarmedUp, candidate: WarmedUp) -> list[str]:
    """Name what eager runs with and the mode changed."""
    replaced = candidate.workload.engine.replaced(baseline.workload.built.module)
    return list(dict.fromkeys([*changes(shared, process_state()), *replaced]))


def _judge_further(
    job: Job, result: Measured, baseline: WarmedUp, candidate: WarmedUp, eager_s: float
) -> None:
    """Judge what one run can tell for all: exactness, choices, and quality on the user's data."""
    result.exactness = exactness(job, baseline, candidate, eager_s=eager_s)
    if job.case.task != "generation":  # whose tokens were compared one by one
        result.agreement = agreement(job, baseline, candidate)
    try:
        if result.quality is None:
            result.quality = quality(job, baseline, candidate)
    except EvaluationFault as fault:
        result.status, result.verdict = "failed", None
        result.reason, result.remedy = str(fault), TRY_IT


def _doubt_rate(job: Job, result: Measured) -> None:
    """Withhold the verdict of a candidate faster than this machine can multiply matrices."""
    if result.statistics is None or not result.flops:
        return
    rate = result.flops / result.statistics.candidate.median_s
    peak = quick_peak(job.case.precision, job.case.device)
    if peak is not None and rate > PLAUSIBLE_RATE * peak:
        result.withhold_verdict(
            f"impossible: it seems to do {rate / 1e9:,.0f} GFLOP/s, where matrix products"
            f" reach {peak / 1e9:,.0f} here",
            "find out what the mode leaves out: it cannot do the model's work at each call",
            doubted=True,
        )


def _ship(workload: Workload, folder: Path | None, warnings: list[str]) -> int | None:
    """Write what a user ships, and measure it; where it cannot be, what was measured stands."""
    folder = workload.engine.directory / "shipped" if folder is None else folder
    try:
        artefacts = workload.ship(folder)
    except Exception as error:  # noqa: BLE001 - engines raise anything
        warnings.append(f"its artefact was not saved: {reason_of(error)}")
        shutil.rmtree(folder, ignore_errors=True)  # part of one is worse than none
        return None
    return memory.artefact_bytes(artefacts) if artefacts else None


def _sample(
    job: Job,
    baseline: WarmedUp,
    candidate: WarmedUp,
    *,
    warmed_up_s: float,
    tolerance: float | None,
) -> tuple[Measured, ContextClock]:
    case, settings = job.case, job.measurement
    clock = ContextClock(
        make_clock(case.device, flush_l2=settings.flush_l2),
        baseline.workload,
        candidate.workload,
        fresh=baseline.sets if baseline.changes_inputs or candidate.changes_inputs else None,
        checks=_spot_checks(job, baseline, candidate, tolerance),
    )
    own = candidate.workload.engine.own_threads
    gpu_at_rest = gpu.gpu_state(0) if case.device == "cuda" else None
    if gpu_at_rest is not None:
        time.sleep(gpu.REST_S)
    gpu_before = gpu.gpu_state(0) if case.device == "cuda" else None
    began = time.monotonic()
    counters, compiled = read_counters(), compiled_graphs()
    sampling = sample(
        baseline.workload.call,
        candidate.workload.call,
        clock=clock,
        settings=settings.model_copy(
            update={"warmup_budget_s": max(LEAST_WARMUP_S, settings.warmup_budget_s - warmed_up_s)}
        ),
        seed=job.seed,
        pace=OWN_THREADS if own else SHARED_THREADS,
        batches=len(baseline.workload.batches),
        take=clock.take,
    )
    clock.take(0)
    gpu_after = gpu.gpu_state(0) if case.device == "cuda" else None
    seconds = time.monotonic() - began
    load = load_between(counters, read_counters())
    result = assess(
        case,
        sampling,
        minimum_effect=settings.minimum_effect,
        extra_s=candidate.cold_s - baseline.cold_s,
        load=load,
        threads=job.threads,
    )
    result.schedule = describe(
        baseline.workload.built.schedule,
        sampling.samples.counted,
        batch_size=case.batch_size,
        recompiles=candidate.recompiles,
        recompiles_while_sampling=compiled_graphs() - compiled,
    )
    if result.schedule is not None:
        result.warnings += cautions_of(result.schedule)
    result.usage = clock.usage[candidate.workload.call].usage
    result.baseline_usage = clock.usage[baseline.workload.call].usage
    result.warnings += churn("eager", result.baseline_usage) + churn("the mode", result.usage)
    if gpu_at_rest is not None and gpu_before is not None and gpu_after is not None:
        result.gpu = Gpu(before=gpu_before, after=gpu_after)
        if held := gpu.throttling(gpu_at_rest, gpu_before, gpu_after, seconds=seconds):
            result.warnings += [f"the GPU held its clocks down: {', '.join(held)}"]
        if result.cost is not None and gpu_after.utilisation_percent is not None:
            result.cost.gpu_utilisation = gpu_after.utilisation_percent / 100
    return result, clock


def _spot_checks(
    job: Job, baseline: WarmedUp, candidate: WarmedUp, tolerance: float | None
) -> SpotChecks | None:
    """Look at what is timed, unless it changes from call to call: losses, a state, inputs."""
    sets = baseline.sets
    if sets is None or baseline.kept or baseline.changes_inputs:
        return None
    return SpotChecks(
        {side.workload.call: side.output for side in (baseline, candidate)},
        kinds={side.workload.call: side.kinds for side in (baseline, candidate)},
        expected=baseline.output,
        precision=job.case.precision,
        tolerance=tolerance,
        device=job.case.device,
        align=baseline.workload.built.align,
        judged=lambda output: baseline.workload.built.judged(output, sets[0]),
    )


def _doubt_memory(
    result: Measured, clock: ContextClock, baseline: WarmedUp, candidate: WarmedUp
) -> None:
    """Withhold the verdict of a candidate that is fast on inputs that it has seen alone."""
    if result.verdict != "faster" or result.statistics is None:
        return
    if baseline.sets is None or baseline.kept:
        return
    clock.checks = None  # of other inputs than these
    speed_up = result.statistics.speed_up.estimate
    slower = recall(
        baseline.workload, candidate.workload, baseline.sets, clock=clock, speed_up=speed_up
    )
    if slower is not None:
        result.withhold_verdict(
            f"it remembers: inputs that are new to it take {slower:.1f} times as long as the timed"
            " ones, which it has seen before",
            "time it on new inputs at each call, or switch off what the mode caches",
            doubted=True,
        )


def _energy(job: Job, candidate: WarmedUp) -> Energy:
    workload, numbers = candidate.workload, itertools.count()

    def next_call() -> Any:
        workload.take(next(numbers))
        return workload.call()

    with workload.context():
        return measure_energy(
            workload.call if len(workload.batches) == 1 else next_call,
            seconds=ENERGY_BLOCK_S,
            items_per_call=job.case.batch_size,
            device=job.case.device,
        )
