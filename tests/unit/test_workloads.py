"""A training step can be put back to where it began, whatever executes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from job_factory import make_job

from torchmodes.measure.first_calls import LOSSES_COMPARED, losses_of
from torchmodes.planning.job import EAGER
from torchmodes.workloads.workload import Workload, training_workload

COMPILED = {
    "engine": "compile",
    "backend": "aot_eager",
    "mode": "default",
    "dynamic": None,
    "fullgraph": False,
    "scope": "step",
    "freezing": False,
    "after": None,
    "fallback": [],
}
MODES = {
    "eager": EAGER,
    "fx": {"engine": "fx", "passes": []},
    "script": {
        "engine": "torchscript",
        "method": "script",
        "freeze": False,
        "optimize_for_inference": False,
    },
    "whole step compiled": COMPILED,
}


def training(mode: dict[str, Any]) -> Workload:
    job = make_job(
        "training/cpu/house_price/a/fp32-b32",
        mode=mode,
        model={"family": "mlp", "hidden": [16]},
        seed=42,
        learning_rate=0.01,
    )
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(32, 6, generator=generator) for _ in range(7)]
    return training_workload(job, [(row[:, :5], row[:, 5:]) for row in rows])


@pytest.mark.parametrize("name", MODES)
def test_restarted_it_takes_the_very_same_steps_again(name: str):
    workload = training(MODES[name])
    with workload.context():
        first = losses_of(workload, LOSSES_COMPARED)
        losses_of(workload, 15)  # of another length than the batches' cycle
        workload.restart()
        assert losses_of(workload, LOSSES_COMPARED) == first


def test_a_step_that_stops_working_is_seen_after_the_restart():
    workload = training(EAGER)
    with workload.context():
        first = losses_of(workload, LOSSES_COMPARED)
        for parameter in workload.built.module.parameters():
            parameter.requires_grad_(False)[:] = 0.0
            parameter.requires_grad_(True)
        workload.restart()
        assert losses_of(workload, LOSSES_COMPARED) == first, "weights are put back too"
