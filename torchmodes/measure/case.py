"""Measure one case, in a process that serves it alone; `docs/measuring.md` tells the order.

The candidate comes first, so that its cost is taken before the baseline has touched the process.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import torch

from torchmodes.config.run import AA_BUDGETS
from torchmodes.machine.environment import torch_build
from torchmodes.machine.peaks import PLAUSIBLE_RATE, quick_peak
from torchmodes.measure import gpu, memory
from torchmodes.measure.assess import assess
from torchmodes.measure.clock import Call, Clock, Timing, make_clock
from torchmodes.measure.energy import make_meter, measure_energy
from torchmodes.measure.first_calls import (
    WarmedUp,
    first_call,
    start_libraries,
    tracer_warnings,
    warmed_up,
)
from torchmodes.measure.input_sets import feed
from torchmodes.measure.load import load_between, read_counters
from torchmodes.measure.process_state import ProcessState, changes, process_state
from torchmodes.measure.recall import recall
from torchmodes.measure.sampler import SamplerSettings, sample
from torchmodes.measure.spot_checks import SpotChecks
from torchmodes.measure.verification import cautions, compare_again, compare_first, leak, wrong
from torchmodes.processes.memory import own_memory
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.models.base import BuiltModel, Inputs
from torchmodes.workloads.models.flops import count_flops
from torchmodes.workloads.modes.base import Engine
from torchmodes.workloads.workload import (
    Job,
    Subject,
    configure_process,
    refusing,
    subject_of,
    unsupported,
)

LONG_CALL_OWN_THREADS_S = 1.0
"""Engines with threads of their own lose more milliseconds after the baseline's turn."""
ENERGY_BLOCK_S = 2.0
LEAST_WARMUP_S = 0.01
"""Of warming up after the first comparisons, which are calls of both sides, too."""


class ContextClock:
    """A clock that enters the context of what it times, outside of the time it takes.

    Parameters
    ----------
    clock
        What times the calls.
    subjects
        Whose calls are timed, each in its own context.
    fresh
        Inputs to copy into a subject's own before each sample, for a model that changes them.
    checks
        What looks at outputs, outside of the time too.

    Attributes
    ----------
    calls
        How often each subject was called.
    """

    def __init__(
        self,
        clock: Clock,
        *subjects: Subject,
        fresh: Inputs | None = None,
        checks: SpotChecks | None = None,
    ) -> None:
        self.name, self.timer_s, self.groupable = clock.name, clock.timer_s, clock.groupable
        self.events = clock.events
        self._clock, self._fresh, self.checks = clock, fresh, checks
        self._subjects = {subject.call: subject for subject in subjects}
        self.calls = Counter[Call]()

    def time(self, call: Call, calls: int, *, events: bool = False) -> Timing:
        """Time `calls` calls; see `torchmodes.measure.clock.Clock`."""
        subject = self._subjects.get(call)
        if subject is None:
            return self._clock.time(call, calls, events=events)
        if self._fresh is not None:
            feed(subject, self._fresh)
        self.calls[call] += calls
        with subject.context():
            timing = self._clock.time(call, calls, events=events)
        if self.checks is not None:
            self.checks.look(call, timing.output)
        return replace(timing, output=None)


@refusing
def measure(argument: dict[str, Any]) -> dict[str, Any]:
    """Measure a case and return the parts of its record that only this process knows.

    Parameters
    ----------
    argument
        A job (`torchmodes.workloads.workload.Job.of`) with ``table`` (paths of the table and its
        statistics, or none) and ``noise_floor`` (a logarithm, or null).
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    start_libraries(job)
    shared = process_state()
    resident = own_memory().resident_bytes
    with tracer_warnings() as traced:
        candidate = warmed_up(job, argument["table"])
    cost = {
        "build_s": candidate.subject.build_s,
        "prepare_s": candidate.subject.prepare_s,
        "first_call_s": candidate.first_call_s,
        "peak_host_bytes": max(0, own_memory().peak_bytes - resident),
        "parameter_bytes": candidate.subject.built.parameter_bytes,
        **asdict(memory.device_memory(job.case.device)),
    }
    baseline = warmed_up(job.baseline(), argument["table"], watched=True)
    cost["baseline_first_call_s"] = baseline.first_call_s
    parts: dict[str, Any] = {
        "item": candidate.subject.built.item,
        "cost": cost,
        "torch_threads": torch.get_num_threads(),
        "environment": {"torch_build": torch_build()},  # whole only where PyTorch is imported
    }
    parts |= _outcome(job, argument, shared, baseline, candidate)
    parts["warnings"] = [
        *cautions(traced, baseline, told=job.case.is_baseline),
        *parts.get("warnings", []),
    ]
    if job.case.task == "inference":
        parts |= _flops(baseline.subject.built, parts["warnings"])  # nothing is timed now
        parts |= _implausible(job, parts)
    cost["artefact_bytes"] = _artefact_bytes(candidate.subject.engine, parts["warnings"])
    facts = candidate.subject.engine.facts()
    parts["warnings"] = [*parts["warnings"], *facts.pop("warnings", [])]
    return parts | {"no_effect": facts.pop("no_effect", None), "facts": facts}


@refusing
def start(argument: dict[str, Any]) -> dict[str, Any]:
    """Start a case and measure nothing but that: preparation and first call, in seconds.

    Parameters
    ----------
    argument
        A job (`torchmodes.workloads.workload.Job.of`) with ``table``.
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    start_libraries(job)
    subject = subject_of(job, argument["table"])
    with subject.context():
        _, first_call_s = first_call(subject, job)
    return {"status": "ok", "prepare_s": subject.prepare_s, "first_call_s": first_call_s}


def _outcome(
    job: Job,
    argument: dict[str, Any],
    shared: ProcessState,
    baseline: WarmedUp,
    candidate: WarmedUp,
) -> dict[str, Any]:
    """Judge whether the candidate is right, time it, and judge again."""
    if baseline.growth:
        return {
            "status": "unsupported",
            "reason": f"the model's state grows at every call: {baseline.growth}",
            "remedy": "let each call begin from a fresh state, or bring one step of a fixed size",
        }
    began = time.monotonic()
    numerics = compare_first(job, baseline, candidate)
    warmed_up_s = time.monotonic() - began  # both sides were called in turn
    if leaked := changes(shared, process_state()):
        return leak(leaked)
    if not numerics.within_tolerance:
        return wrong(job, argument["table"], baseline, numerics)
    sampled, clock = _sample(job, argument, baseline, candidate, warmed_up_s=warmed_up_s)
    if leaked := changes(shared, process_state()):
        return leak(leaked)
    if clock.checks is not None and clock.checks.wrong is not None:
        return wrong(job, argument["table"], baseline, clock.checks.wrong)
    numerics = compare_again(job, baseline, candidate, numerics, clock.calls)
    if not numerics.within_tolerance:
        return wrong(job, argument["table"], baseline, numerics)
    if sampled["verdict"] == "faster":
        speed_up = sampled["statistics"]["speed_up"]["estimate"]
        sampled |= _remembered(clock, baseline, candidate, speed_up=speed_up)
    return sampled | {"numerics": asdict(numerics), "energy": _energy(job, candidate)}


def _implausible(job: Job, parts: dict[str, Any]) -> dict[str, Any]:
    """Withhold the verdict of a candidate faster than this machine can multiply matrices."""
    if parts["status"] != "ok" or not parts.get("flops"):
        return {}
    rate = parts["flops"] / parts["statistics"]["candidate"]["median_s"]
    peak = quick_peak(job.case.precision, job.case.device)
    if peak is None or rate <= PLAUSIBLE_RATE * peak:
        return {}
    return {
        "verdict": "unresolved",
        "no_verdict": f"impossible: it seems to do {rate / 1e9:,.0f} GFLOP/s, where matrix products"
        f" reach {peak / 1e9:,.0f} here",
        "remedy": "find out what the mode leaves out: it cannot do the model's work at each call",
    }


def _flops(built: BuiltModel, warnings: list[str]) -> dict[str, Any]:
    """Count a forward pass; a model that cannot be counted was still measured."""
    counted = count_flops(built)
    if counted.fault:
        warnings = [*warnings, f"its operations were not counted: {counted.fault}"]
    return {"flops": counted.total, "warnings": warnings}


def _artefact_bytes(engine: Engine, warnings: list[str]) -> int | None:
    """Measure what a user ships; where it cannot be saved, what was measured stands."""
    try:
        artefacts = engine.artefacts()
    except Exception as error:  # noqa: BLE001 - engines raise anything
        warnings.append(f"its artefact was not saved: {reason_of(error)}")
        return None
    return memory.artefact_bytes(artefacts) if artefacts else None


def _sample(
    job: Job,
    argument: dict[str, Any],
    baseline: WarmedUp,
    candidate: WarmedUp,
    *,
    warmed_up_s: float,
) -> tuple[dict[str, Any], ContextClock]:
    case, settings = job.case, argument["parameters"]["measurement"]
    clock = ContextClock(
        make_clock(case.device, flush_l2=settings["flush_l2"] and case.device == "cuda"),
        baseline.subject,
        candidate.subject,
        fresh=baseline.sets[0] if baseline.sets and baseline.changes_inputs else None,
        checks=_spot_checks(job, baseline, candidate),
    )
    own = candidate.subject.engine.own_threads
    gpu_at_rest = gpu.gpu_state(0) if case.device == "cuda" else None
    if gpu_at_rest is not None:
        time.sleep(gpu.REST_S)
    gpu_before = gpu.gpu_state(0) if case.device == "cuda" else None
    began = time.monotonic()
    counters = read_counters()
    sampling = sample(
        baseline.subject.call,
        candidate.subject.call,
        clock=clock,
        settings=SamplerSettings(
            target_half_width=settings["target_half_width"],
            budget_s=settings["budget_s"] * (AA_BUDGETS if case.is_baseline else 1),
            warmup_budget_s=max(LEAST_WARMUP_S, settings["warmup_budget_s"] - warmed_up_s),
            min_quads=settings["min_quads"],
            long_call_s=LONG_CALL_OWN_THREADS_S if own else SamplerSettings.long_call_s,
        ),
        seed=job.seed,
    )
    gpu_after = gpu.gpu_state(0) if case.device == "cuda" else None
    seconds = time.monotonic() - began
    load = load_between(counters, read_counters())
    assessed = assess(
        case,
        sampling,
        minimum_effect=settings["minimum_effect"],
        floor=argument["noise_floor"],
        extra_s=candidate.cold_s - baseline.cold_s,
        load=load,
        threads=job.threads,
    )
    return assessed | {
        "status": "ok",
        "warnings": [
            *assessed["warnings"],
            *_throttling(gpu_at_rest, gpu_before, gpu_after, seconds),
        ],
        "load": assessed["load"] | {"gpu_utilisation": _utilisation(gpu_after)},
        "gpu": {
            "before": gpu_before and asdict(gpu_before),
            "after": gpu_after and asdict(gpu_after),
        }
        if case.device == "cuda"
        else None,
    }, clock


def _spot_checks(job: Job, baseline: WarmedUp, candidate: WarmedUp) -> SpotChecks | None:
    """Look at what is timed, unless it changes from call to call: losses, a state, inputs."""
    if baseline.sets is None or baseline.kept or baseline.changes_inputs:
        return None
    return SpotChecks(
        {side.subject.call: side.output for side in (baseline, candidate)},
        expected=baseline.output,
        precision=job.case.precision,
        device=job.case.device,
    )


def _remembered(
    clock: ContextClock, baseline: WarmedUp, candidate: WarmedUp, *, speed_up: float
) -> dict[str, Any]:
    """Withhold the verdict of a candidate that is fast on inputs that it has seen alone."""
    if baseline.sets is None or baseline.kept:
        return {}
    clock.checks = None  # of other inputs than these
    slower = recall(
        baseline.subject, candidate.subject, baseline.sets, clock=clock, speed_up=speed_up
    )
    if slower is None:
        return {}
    return {
        "verdict": "unresolved",
        "no_verdict": f"it remembers: inputs that are new to it take {slower:.1f} times as long as"
        " those that it has seen, which the timed ones are",
        "remedy": "time it on new inputs at each call, or leave the remembering out of the mode",
    }


def _energy(job: Job, candidate: WarmedUp) -> dict[str, Any]:
    with candidate.subject.context():
        energy = measure_energy(
            candidate.subject.call,
            seconds=ENERGY_BLOCK_S,
            items_per_call=job.case.batch_size,
            meter=make_meter(job.case.device),
        )
    return asdict(energy)


def _throttling(
    rest: gpu.GpuState | None,
    before: gpu.GpuState | None,
    after: gpu.GpuState | None,
    seconds: float,
) -> list[str]:
    if rest is None or before is None or after is None:
        return []
    held = gpu.throttling(rest, before, after, seconds=seconds)
    return [f"the GPU held its clocks down: {', '.join(held)}"] if held else []


def _utilisation(state: gpu.GpuState | None) -> float | None:
    if state is None or state.utilisation_percent is None:
        return None
    return state.utilisation_percent / 100
