"""Dynamic shapes: what a compiled model does when the batch size changes under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job

VARIANTS: dict[str, dict[str, Any]] = {
    "automatic": {"dynamic": None, "mark": False},
    "dynamic": {"dynamic": True, "mark": False},
    "static": {"dynamic": False, "mark": False},
    "mark_dynamic": {"dynamic": None, "mark": True},
}
"""``torch.compile(dynamic=…)``, and whether `torch._dynamo.mark_dynamic` names the batch."""


def study_dynamic_shapes(jobs: Sequence[Job], *, log: Path) -> dict[str, Any]:
    """Call each case with changing batch sizes, once per variant, each in a process of its own.

    An inference case is called with every batch size up to its own, as a server would be; a
    training case runs two epochs whose last batch is kept although it is smaller
    (``drop_last=False``), and two without it.

    Parameters
    ----------
    jobs
        The cases; the engine of each mode is compile.
    log
        File for everything the processes print.

    Returns
    -------
    dict
        ``cases``: for each identity and variant ``variant``, ``drop_last`` (null: inference),
        ``status``, ``reason``, ``calls`` (``batch_size`` and ``seconds`` in order), ``graphs``,
        ``recompiles``, ``usual_s`` (median of the second half) and ``spike_s`` (the slowest call
        after the first); ``environment``.
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
                rows.append(
                    {
                        "case": job.case.identity(),
                        "variant": variant,
                        "drop_last": drop_last,
                        "status": parts["status"],
                        "reason": parts.get("reason"),
                        **{
                            name: parts.get(name)
                            for name in ("calls", "graphs", "recompiles", "usual_s", "spike_s")
                        },
                    }
                )
    return {"cases": rows, "environment": environment}
