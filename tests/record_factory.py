"""Records as a run would leave them, made from a seed: for every test that needs some.

>>> make_record("training/cpu/house_price/inductor/fp32-b2048", speed_up=1.2).verdict
'faster'
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from torchmodes.measure.breakeven import break_even
from torchmodes.measure.latency import drift, latency
from torchmodes.measure.statistics import (
    Effect,
    effect,
    log_ratios,
    margin,
    p_value,
    sides,
    verdict,
)
from torchmodes.planning.cases import Case, parse_case
from torchmodes.report.data import TrainingRun
from torchmodes.results.records import (
    Cost,
    Energy,
    Failure,
    Generation,
    Identity,
    Numerics,
    Quality,
    Record,
    Run,
    Samples,
    Statistics,
    Status,
    Warmup,
)
from torchmodes.workloads.training.metrics import Metrics

ENVIRONMENT: dict[str, Any] = {
    "machine": {
        "host": "bench-1",
        "cpu": "Example CPU 3.0 GHz",
        "cores_usable": 2,
        "memory_bytes": 24_000_000_000,
        "isa": ["avx2", "avx512f"],
        "governor": "performance",
    },
    "gpu": None,
    "os": "Linux 6.1",
    "python": "3.11.7",
    "versions": {"torch": "2.14.1", "numpy": "2.4.6"},
    "torch_build": {"version": "2.14.1+cu130", "cuda": "13.0", "debug": False},
    "variables": {"OMP_NUM_THREADS": "2"},
    "git": {"revision": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
}
MINIMUM_EFFECT = 0.01


def make_record(
    case: Case | str,
    *,
    status: Status = "ok",
    speed_up: float = 1.0,
    blocks: int = 60,
    baseline_s: float = 7e-3,
    noise: float = 0.02,
    noise_floor: float | None = 0.008,
    prepare_s: float = 0.3,
    first_call_s: float = 0.5,
    peak_host_bytes: int = 735_000_000,
    peak_children_bytes: int | None = None,
    converged: bool = True,
    no_effect: str | None = None,
    reason: str | None = None,
    remedy: str | None = None,
    failure: Failure | None = None,
    warnings: list[str] | None = None,
    environment: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    item: str = "row",
    relative_l2: float = 3.1e-7,
    tolerance: float = 1e-5,
    quality: Quality | None = None,
    seed: int = 42,
) -> Record:
    """Make one valid record.

    Parameters
    ----------
    case
        The case, or its path such as ``training/cpu/house_price/eager/fp32-b2048``.
    status
        With ``ok`` it has samples; with ``wrong`` numerics out of tolerance; else neither.
    speed_up
        The true one; the estimate differs from it by the noise.
    blocks, baseline_s, noise
        Number of blocks, the baseline's typical seconds, and the relative spread of a sample.
    noise_floor
        Relative, as an A/A case would have given.
    """
    case = case if isinstance(case, Case) else parse_case(case)
    facts_of_status: dict[str, Any] = {
        "reason": reason or (None if status == "ok" else f"the case is {status}"),
        "remedy": remedy or (None if status == "ok" else "use another mode"),
        "failure": failure,
    }
    if status == "failed" and failure is None:
        facts_of_status["failure"] = Failure(
            type="RuntimeError",
            message="no kernel",
            traceback='Traceback (most recent call last):\n  File "m.py", line 1',
            log=f"logs/benchmark/{case}.log",
        )
    if status == "ok":
        samples = make_samples(
            speed_up=speed_up, blocks=blocks, baseline_s=baseline_s, noise=noise, seed=seed
        )
        beyond = margin(
            minimum_effect=MINIMUM_EFFECT,
            floor=None if case.is_baseline or noise_floor is None else math.log1p(noise_floor),
        )
        measured = _measured(samples)
        statistics = make_statistics(
            samples,
            batch_size=case.batch_size,
            noise_floor=None if case.is_baseline else noise_floor,
            beyond=beyond,
            converged=converged,
        )
        unjudged = noise_floor is None and not case.is_baseline
        facts_of_status |= {
            "verdict": "unresolved" if unjudged else verdict(measured, beyond=beyond),
            "samples": samples,
            "statistics": statistics,
            "warmup": Warmup(calls=40, seconds=0.4, steady=True),
            "cost": make_cost(
                measured,
                baseline_s=statistics.baseline.median_s,
                prepare_s=prepare_s,
                first_call_s=first_call_s,
                peak_host_bytes=peak_host_bytes,
                peak_children_bytes=peak_children_bytes,
            ),
            "energy": Energy(
                joules=None,
                seconds=None,
                source=None,
                reason="no energy counter here",
                calls=None,
                items=None,
                joules_per_item=None,
            ),
        }
    if status in ("ok", "wrong"):
        off = status == "wrong"
        facts_of_status["numerics"] = Numerics(
            within_tolerance=not off,
            reason="relative L2 0.013 is above 1e-05" if off else None,
            compared="losses" if case.task == "training" else "output",
            max_abs=0.04 if off else 4.2e-6,
            max_rel=0.03 if off else 5.0e-6,
            relative_l2=0.013 if off else relative_l2,
            cosine=0.9998 if off else 1.0,
            tolerance=tolerance,
        )
    return Record(
        case=Identity(**case.identity()),
        status=status,
        no_effect=no_effect,
        item=item,
        parameters={"mode": {"engine": case.mode}, "seed": 42},
        run=Run(
            started_at="2026-03-01T12:00:00+00:00",
            finished_at="2026-03-01T12:00:20+00:00",
            wall_s=20.0,
            start_method="fork",
            start_s=1.8,
            sampling_s=8.0,
            threads=2,
            torch_threads=2,
        ),
        facts=facts or {},
        warnings=warnings or [],
        quality=quality,
        environment=ENVIRONMENT if environment is None else environment,
        **facts_of_status,
    )


def make_samples(
    *, speed_up: float, blocks: int, baseline_s: float, noise: float, seed: int
) -> Samples:
    """Draw blocks: a machine that wanders, samples with a heavy tail, an order drawn at random."""
    random = np.random.default_rng(seed)
    wander = 1 + 0.06 * np.sin(np.linspace(0, 9, blocks) + random.uniform(0, 6))
    tail = np.where(random.random((blocks, 4)) < 0.03, random.exponential(0.5, (blocks, 4)), 0)
    factors = wander[:, None] * np.exp(noise * random.standard_normal((blocks, 4))) * (1 + tail)
    orders = random.choice(["ABBA", "BAAB"], blocks)
    made, at_s = [], 0.0
    for order, factor in zip(orders, factors, strict=True):
        seconds = [
            float(baseline_s * f / (speed_up if side == "B" else 1.0))
            for side, f in zip(order, factor, strict=True)
        ]
        made.append({"order": str(order), "seconds": seconds, "at_s": at_s})
        at_s += sum(seconds)
    return Samples.model_validate({"clock": "perf_counter", "calls_per_sample": 1, "quads": made})


def make_statistics(
    samples: Samples,
    *,
    batch_size: int,
    noise_floor: float | None,
    beyond: float,
    converged: bool,
) -> Statistics:
    """Derive statistics from samples with the project's own functions."""
    measured = _measured(samples)
    baseline, candidate = _sides(samples)
    wandering = drift(baseline, [block.at_s for block in samples.blocks])
    return Statistics(
        speed_up=measured.ratio,
        half_width=measured.half_width,
        blocks=measured.blocks,
        converged=converged,
        noise_floor=noise_floor,
        margin=math.expm1(beyond),
        p_value=p_value(measured, beyond=beyond),
        baseline=latency(baseline),
        candidate=latency(candidate),
        throughput_per_s=batch_size / float(np.median(candidate)),
        drift=wandering.change,
        drifting=wandering.drifting,
        autocorrelation=measured.autocorrelation,
        autocorrelated=measured.autocorrelated,
    )


def make_cost(
    measured: Effect,
    *,
    baseline_s: float,
    prepare_s: float,
    first_call_s: float,
    peak_host_bytes: int,
    peak_children_bytes: int | None,
) -> Cost:
    """Make the cost of a case whose baseline's first call took 40 ms."""
    even = break_even(measured, baseline_s=baseline_s, extra_s=prepare_s + first_call_s - 0.04)
    return Cost(
        import_s=4.2,
        build_s=0.02,
        prepare_s=prepare_s,
        first_call_s=first_call_s,
        baseline_first_call_s=0.04,
        peak_host_bytes=peak_host_bytes,
        peak_children_bytes=peak_children_bytes,
        parameter_bytes=270_000,
        cpu_cores_used=1.9,
        other_load=0.1,
        break_even_calls=even,
    )


def make_generation(**more: Any) -> Generation:
    """Return what a record says of text: a prompt of 64 tokens, and 32 new ones, eager's own."""
    fields: dict[str, Any] = {
        "prompt_length": 64,
        "new_tokens": 32,
        "position": 79,
        "cache": "static",
        "sequences": 12,
        "divergence": None,
        "logit_errors": [1e-7] * 32,
        "compiled_at": [64],
        "weight_bytes": 500_000_000,
        "cache_bytes": 10_000_000,
    }
    return Generation(**fields | more)


def house_price_records() -> list[Record]:
    """Make the records of a default run: training of the house-price model in six modes."""
    case = "training/cpu/house_price/{}/fp32-b2048"
    return [
        make_record(case.format("eager"), prepare_s=2e-5, first_call_s=0.041, seed=1),
        make_record(
            case.format("inductor"),
            speed_up=1.10,
            prepare_s=0.2,
            first_call_s=14.6,
            peak_host_bytes=1_120_000_000,
            peak_children_bytes=412_000_000,
            facts={"graphs": 1, "graph_breaks": {}, "recompiles": 0},
            seed=2,
        ),
        make_record(
            case.format("inductor-step"),
            speed_up=1.21,
            prepare_s=0.3,
            first_call_s=19.2,
            peak_host_bytes=1_180_000_000,
            peak_children_bytes=440_000_000,
            facts={"graphs": 3, "graph_breaks": {"Tensor.backward": 1, "zero_grad": 1}},
            seed=3,
        ),
        make_record(
            case.format("fx"), speed_up=1.002, first_call_s=0.05, prepare_s=0.04, blocks=200, seed=4
        ),
        make_record(
            case.format("fx-custom-op"), speed_up=0.93, first_call_s=0.05, prepare_s=0.9, seed=5
        ),
        make_record(
            case.format("torchscript"),
            speed_up=1.01,
            noise=0.09,
            blocks=30,
            converged=False,
            prepare_s=0.12,
            first_call_s=0.9,
            warnings=["the baseline drifted by 7 % while it was measured"],
            seed=6,
        ),
    ]


def make_training(mode: str, *, status: str = "ok", offset: float = 0.0) -> TrainingRun:
    """Make a training of ten epochs whose losses are off eager's by a relative `offset`."""
    epochs = np.arange(1, 11 if status == "ok" else 1)
    loss = np.exp(-epochs / 3) + 0.01
    history = {
        "epoch": epochs,
        "train_loss": loss * (1 + offset),
        "validation_loss": 1.1 * loss * (1 + offset),
        "seconds": np.full(epochs.size, 0.06),
    }
    ok = status == "ok"
    metrics = {
        "mode": mode,
        "status": status,
        "reason": None if ok else f"training is {status}",
        "remedy": None if ok else "train in another mode",
        "device": "cpu",
        "rmse": 101_234.5 if ok else None,
        "r2": 0.9171 if ok else None,
        "train_rows_per_s": 310_000.0 if ok else None,
        "seconds": 2.4 if ok else None,
        "epochs": 10 if ok else None,
        "artefacts": ["weights.pt"] if ok else [],
        "environment": ENVIRONMENT,
    }
    return TrainingRun(Metrics.model_validate(metrics), pd.DataFrame(history))


def write_training(run: TrainingRun, folder: Path) -> Path:
    """Write a training as the workflow would, and return the path of its metrics."""
    folder.mkdir(parents=True)
    run.history.to_csv(folder / "history.csv", index=False)
    (folder / "metrics.json").write_text(run.metrics.model_dump_json())
    return folder / "metrics.json"


def _sides(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    return sides([q.order for q in samples.blocks], [q.seconds for q in samples.blocks])


def _measured(samples: Samples) -> Effect:
    return effect(log_ratios(*_sides(samples)))
