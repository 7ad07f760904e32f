"""Measure one case, in a process that serves it alone; `docs/measuring.md` tells the order.

The candidate comes first, so that its cost is taken before the baseline has touched the process.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from torchmodes.config.run import AA_BUDGETS
from torchmodes.environment import torch_build
from torchmodes.measure import gpu, memory
from torchmodes.measure.assess import assess
from torchmodes.measure.clock import Call, Clock, Timing, make_clock
from torchmodes.measure.energy import make_meter, measure_energy
from torchmodes.measure.numerics import Numerics, compare, compare_losses
from torchmodes.measure.sampler import SamplerSettings, sample
from torchmodes.models.base import BuiltModel
from torchmodes.models.flops import count_flops
from torchmodes.modes.base import Engine, first_line
from torchmodes.subjects import (
    Job,
    Subject,
    configure_process,
    copy_output,
    subject_of,
    synchronize,
    unsupported,
)
from torchmodes.supervision import processes

LOSSES_COMPARED = 20
"""Optimiser steps whose losses must agree, from the same weights on the same batches."""
LONG_CALL_OWN_THREADS_S = 1.0
"""Engines with threads of their own lose more milliseconds after the baseline's turn."""
ENERGY_BLOCK_S = 2.0


@dataclass(frozen=True)
class Made:
    """A subject after its first calls: what they returned and how long the first one took."""

    subject: Subject
    output: Any
    first_call_s: float

    @property
    def cold_s(self) -> float:
        """Seconds from a built model to its first output."""
        return self.subject.prepare_s + self.first_call_s


class ContextClock:
    """A clock that enters the context of what it times, outside of the time it takes.

    Parameters
    ----------
    clock
        What times the calls.
    subjects
        Whose calls are timed, each in its own context.
    """

    def __init__(self, clock: Clock, *subjects: Subject) -> None:
        self.name, self.timer_s, self.groupable = clock.name, clock.timer_s, clock.groupable
        self._clock = clock
        self._contexts = {subject.call: subject.context for subject in subjects}

    def time(self, call: Call, calls: int) -> Timing:
        """Time `calls` calls; see `torchmodes.measure.clock.Clock`."""
        with self._contexts.get(call, nullcontext)():
            return self._clock.time(call, calls)


def measure(argument: dict[str, Any]) -> dict[str, Any]:
    """Measure a case and return the parts of its record that only this process knows.

    Parameters
    ----------
    argument
        A job (see `torchmodes.subjects.Job.of`) with ``table`` (paths of the table and its
        statistics, or none) and ``noise_floor`` (a logarithm, or null).
    """
    parameters = argument["parameters"]
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    settings = parameters["measurement"]
    _start_libraries(job.case.device)
    resident = processes.own_memory().resident_bytes
    candidate = _make(job, argument["table"])
    cost = {
        "build_s": candidate.subject.build_s,
        "prepare_s": candidate.subject.prepare_s,
        "first_call_s": candidate.first_call_s,
        "peak_host_bytes": max(0, processes.own_memory().peak_bytes - resident),
        "parameter_bytes": candidate.subject.built.parameter_bytes,
        **asdict(memory.device_memory(job.case.device)),
    }
    baseline = _make(job.baseline(), argument["table"])
    cost["baseline_first_call_s"] = baseline.first_call_s
    numerics = _compare(job, baseline.output, candidate.output)
    parts: dict[str, Any] = {
        "warnings": [],
        "item": candidate.subject.built.item,
        "numerics": numerics,
        "cost": cost,
        "torch_threads": torch.get_num_threads(),
        "environment": {"torch_build": torch_build()},  # whole only where PyTorch is imported
    }
    if numerics["within_tolerance"]:
        parts |= _sample(job, settings, argument["noise_floor"], baseline, candidate)
    else:
        parts |= {
            "status": "wrong",
            "reason": numerics["reason"],
            "remedy": "make what the model draws at random depend on the seed"
            if job.case.is_baseline
            else "do not use this mode for this model, or report the difference upstream",
        }
    if job.case.task == "inference":
        parts |= _flops(baseline.subject.built, parts["warnings"])  # nothing is timed now
    cost["artefact_bytes"] = _artefact_bytes(candidate.subject.engine, parts["warnings"])
    facts = candidate.subject.engine.facts()
    return parts | {"no_effect": facts.pop("no_effect", None), "facts": facts}


def start(argument: dict[str, Any]) -> dict[str, Any]:
    """Start a case and measure nothing but that: preparation and first call, in seconds.

    Parameters
    ----------
    argument
        A job (see `torchmodes.subjects.Job.of`) with ``table``.
    """
    job = Job.of(argument)
    configure_process(job)
    if refusal := unsupported(job):
        return {"status": "unsupported", "reason": refusal.reason, "remedy": refusal.remedy}
    _start_libraries(job.case.device)
    subject = subject_of(job, argument["table"])
    with subject.context():
        _, first_call_s = _first_call(subject, job)
    return {"status": "ok", "prepare_s": subject.prepare_s, "first_call_s": first_call_s}


def _start_libraries(device: str) -> None:
    """Let libraries load and threads start, for which the side that runs first would pay alone."""
    image = torch.ones(1, 3, 64, 64, device=device)
    torch.nn.functional.conv2d(image, image[:, :, :3, :3]) @ torch.ones(62, 62, device=device)
    torch.ones(256, 256, device=device) @ torch.ones(256, 256, device=device)
    synchronize(device)


def _make(job: Job, table: list[str]) -> Made:
    """Build a subject and run its first calls.

    Of a candidate's inference the third output is kept: a CUDA graph is recorded at the second call
    and first replayed at the third, and TorchScript optimises its graph at the second.
    """
    subject = subject_of(job, table)
    with subject.context():
        output, first_call_s = _first_call(subject, job)
        if job.case.task == "training":
            # Each is read before the next step, at which a CUDA graph overwrites its output.
            losses = [float(output), *(float(subject.call()) for _ in range(LOSSES_COMPARED - 1))]
            return Made(subject, losses, first_call_s)
        for _ in range(0 if job.case.is_baseline else 2):
            output = subject.call()
        return Made(subject, copy_output(output), first_call_s)


def _first_call(subject: Subject, job: Job) -> tuple[Any, float]:
    synchronize(job.case.device)
    start = time.perf_counter()
    output = subject.call()
    synchronize(job.case.device)
    return output, time.perf_counter() - start


def _flops(built: BuiltModel, warnings: list[str]) -> dict[str, Any]:
    """Count a forward pass; a model that cannot be counted was still measured."""
    try:
        return {"flops": count_flops(built)}
    except Exception as error:  # noqa: BLE001 - the counter runs a user's model in its own way
        return {"warnings": [*warnings, f"its operations were not counted: {first_line(error)}"]}


def _artefact_bytes(engine: Engine, warnings: list[str]) -> int | None:
    """Measure what a user ships; where it cannot be saved, what was measured stands."""
    try:
        artefacts = engine.artefacts()
    except Exception as error:  # noqa: BLE001 - engines raise anything
        warnings.append(f"its artefact was not saved: {first_line(error)}")
        return None
    return memory.artefact_bytes(artefacts) if artefacts else None


def _compare(job: Job, baseline: Any, candidate: Any) -> dict[str, Any]:
    precision = job.case.precision
    if job.case.task == "training":
        numerics: Numerics = compare_losses(baseline, candidate, precision=precision)
    else:
        numerics = compare(baseline, candidate, precision=precision)
    return asdict(numerics)


def _sample(
    job: Job,
    settings: dict[str, Any],
    floor: float | None,
    baseline: Made,
    candidate: Made,
) -> dict[str, Any]:
    case = job.case
    own = candidate.subject.engine.own_threads
    gpu_before = gpu.gpu_state(0) if case.device == "cuda" else None
    load = Load.now()
    sampling = sample(
        baseline.subject.call,
        candidate.subject.call,
        clock=ContextClock(
            make_clock(case.device, flush_l2=settings["flush_l2"] and case.device == "cuda"),
            baseline.subject,
            candidate.subject,
        ),
        settings=SamplerSettings(
            target_half_width=settings["target_half_width"],
            budget_s=settings["budget_s"] * (AA_BUDGETS if case.is_baseline else 1),
            warmup_budget_s=settings["warmup_budget_s"],
            min_quads=settings["min_quads"],
            long_call_s=LONG_CALL_OWN_THREADS_S if own else SamplerSettings.long_call_s,
        ),
        seed=job.seed,
    )
    gpu_after = gpu.gpu_state(0) if case.device == "cuda" else None
    used = load.since()
    with candidate.subject.context():
        energy = measure_energy(
            candidate.subject.call,
            seconds=ENERGY_BLOCK_S,
            items_per_call=case.batch_size,
            meter=make_meter(case.device),
        )
    assessed = assess(
        case,
        sampling,
        minimum_effect=settings["minimum_effect"],
        floor=floor,
        extra_s=candidate.cold_s - baseline.cold_s,
    )
    return assessed | {
        "status": "ok",
        "warnings": [*assessed["warnings"], *_throttling(gpu_before, gpu_after)],
        "load": used | {"gpu_utilisation": _utilisation(gpu_after)},
        "gpu": {
            "before": gpu_before and asdict(gpu_before),
            "after": gpu_after and asdict(gpu_after),
        }
        if case.device == "cuda"
        else None,
        "energy": asdict(energy),
    }


def _throttling(before: gpu.GpuState | None, after: gpu.GpuState | None) -> list[str]:
    if before is None or after is None:
        return []
    held = [f"{name} for {s:.1f} s" for name, s in gpu.held_down_between(before, after).items()]
    if not held and after.throttled:
        held = sorted(set(after.throttle_reasons or ()) - gpu.HARMLESS)
    return [f"the GPU held its clocks down: {', '.join(held)}"] if held else []


def _utilisation(state: gpu.GpuState | None) -> float | None:
    if state is None or state.utilisation_percent is None:
        return None
    return state.utilisation_percent / 100


@dataclass(frozen=True)
class Load:
    """Processor time, of this process and of the whole machine, at one moment."""

    at_s: float
    own_s: float
    busy_s: float

    @classmethod
    def now(cls) -> Load:
        """Read the counters."""
        own, machine = psutil.Process().cpu_times(), psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return cls(time.monotonic(), own.user + own.system, sum(machine[:8]) - idle)

    def since(self) -> dict[str, float]:
        """Return the cores kept busy since then: by this process, and by all others."""
        now = Load.now()
        seconds = now.at_s - self.at_s
        own = (now.own_s - self.own_s) / seconds
        return {
            "cpu_cores_used": own,
            "other_load": max(0.0, (now.busy_s - self.busy_s) / seconds - own),
        }
