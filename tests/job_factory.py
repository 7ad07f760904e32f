"""Jobs of small models, as the process of a job receives them."""

from __future__ import annotations

from typing import Any

from torchmodes.config.run import Measurement
from torchmodes.planning.cases import parse_case
from torchmodes.planning.job import EAGER, Job

MLP = {"family": "mlp", "hidden": [8]}
EAGER_CASE = "inference/cpu/house_price/eager/fp32-b4"
QUICK = Measurement(
    target_half_width=0.5, budget_s=0.05, warmup_budget_s=0.05, min_quads=5, start="fresh"
)
"""Enough for a verdict of whatever kind."""


def make_job(
    path: str = EAGER_CASE,
    *,
    mode: dict[str, Any] = EAGER,
    model: dict[str, Any] = MLP,
    **more: Any,
) -> Job:
    """Return the job of a case of a model with five inputs, with `more` of its fields."""
    fields = {"seed": 1, "threads": 1, "features": 5, "measurement": QUICK} | more
    return Job(case=parse_case(path), model=model, mode=mode, **fields)
