"""Dynamic shapes: what a compiled model does when the batch size changes under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.studies.catalogue import DynamicShapes, Shapes
from torchmodes.studies.jobs import CaseRunner

VARIANTS: dict[str, dict[str, Any]] = {
    "automatic": {"dynamic": None, "mark": False},
    "dynamic": {"dynamic": True, "mark": False},
    "static": {"dynamic": False, "mark": False},
    "mark_dynamic": {"dynamic": None, "mark": True},
}
"""``torch.compile(dynamic=…)``, and whether `torch._dynamo.mark_dynamic` names the batch."""


def study(cases: Sequence[Mapping[str, Any]], runner: CaseRunner) -> DynamicShapes:
    """Call each case with changing batch sizes, once per variant, each in a process of its own.

    An inference case is called with every batch size up to its own, as a server would be; a
    training case runs two epochs whose last batch is kept although it is smaller
    (``drop_last=False``), and two without it. Every mode's engine is compile.
    """
    environment = describe_environment()
    rows = []
    for parameters in cases:
        training = parameters["case"]["task"] == "training"
        for drop_last in (True, False) if training else (None,):
            for variant, options in VARIANTS.items():
                if drop_last and variant != "automatic":
                    continue  # one size alone: nothing for the variants to differ in
                mode = {**parameters["mode"], "dynamic": options["dynamic"]}
                parts = runner.run(
                    "torchmodes.studies.shapes_job:change_shapes",
                    {**parameters, "mode": mode},
                    mark=options["mark"],
                    drop_last=drop_last,
                )
                row = {"case": parameters["case"], "variant": variant, "drop_last": drop_last}
                rows.append(Shapes.model_validate({**parts, **row}))
    return DynamicShapes(cases=rows, environment=environment)
