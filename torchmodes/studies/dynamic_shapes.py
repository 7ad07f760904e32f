"""Dynamic shapes: what a compiled model does when the batch size changes under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job
from torchmodes.studies.catalogue import DynamicShapes, Shapes

VARIANTS: dict[str, dict[str, Any]] = {
    "automatic": {"dynamic": None, "mark": False},
    "dynamic": {"dynamic": True, "mark": False},
    "static": {"dynamic": False, "mark": False},
    "mark_dynamic": {"dynamic": None, "mark": True},
}
"""``torch.compile(dynamic=…)``, and whether `torch._dynamo.mark_dynamic` names the batch."""


def study(jobs: Sequence[Job], *, log: Path) -> DynamicShapes:
    """Call each case with changing batch sizes, once per variant, each in a process of its own.

    An inference case is called with every batch size up to its own, as a server would be; a
    training case runs two epochs whose last batch is kept although it is smaller
    (``drop_last=False``), and two without it. Every mode's engine is compile.
    """
    environment = describe_environment()
    rows = []
    for job in jobs:
        for drop_last in (True, False) if job.case.task == "training" else (None,):
            for variant, options in VARIANTS.items():
                if drop_last and variant != "automatic":
                    continue  # one size alone: nothing for the variants to differ in
                parts, _ = run_job(
                    "torchmodes.studies.shapes_job:change_shapes",
                    replace(job, mode=job.mode | {"dynamic": options["dynamic"]}),
                    log=log,
                    mark=options["mark"],
                    drop_last=drop_last,
                )
                row = {"case": job.case.identity(), "variant": variant, "drop_last": drop_last}
                rows.append(Shapes.model_validate({**parts, **row}))
    return DynamicShapes(cases=rows, environment=environment)
