"""A profile, a roofline and a diff, made up, as the report reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from torchmodes.planning.cases import parse_case
from torchmodes.profiling.files import LAYER_COLUMNS, MEMORY_COLUMNS
from torchmodes.profiling.overview import PARTS
from torchmodes.profiling.reading import CaseProfile

EAGER = parse_case("training/cpu/house_price/eager/fp32-b2048")


def layers(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """A table of layers, in the order of their calls: name, class, milliseconds."""
    full = [
        (name, kind, 0, order, 1.0, ms / 1e3, ms / 1e3, 0, 0)
        for order, (name, kind, ms) in enumerate(rows)
    ]
    return pd.DataFrame(full, columns=list(LAYER_COLUMNS))


RESNET = layers(
    ("(model)", "ResNet", 100),
    ("layer1.0", "Block", 40),
    ("layer1.0.conv1", "Conv2d", 30),
    ("layer1.2", "Block", 10),
    ("layer1.10", "Block", 20),
    ("fc", "Linear", 20),
)
MEMORY = pd.DataFrame(
    [
        ("build and prepare", 0.0, 5e8, None, None),
        ("first call", 1.0, 6e8, None, None),
        ("steps", 0.0, None, 1e6, None),
        ("steps", 0.01, None, 0.0, None),
    ],
    columns=list(MEMORY_COLUMNS),
).astype({"reserved_bytes": float, "allocated_bytes": float})
OPERATORS = pd.DataFrame(
    [
        ("aten::addmm", 3.0, 0.003),
        ("aten::mkldnn_convolution", 1.0, 0.002),
        ("aten::relu", 2.0, 0.001),
    ],
    columns=["operator", "calls", "lean_self_s"],
)
ROOFLINE = {
    "machines": {
        "cpu": {
            "status": "ok",
            "ceilings": [
                {
                    "threads": 2,
                    "flops_per_s": {"fp32": 300e9},
                    "copy_bytes_per_s": 10e9,
                    "triad_bytes_per_s": 12e9,
                }
            ],
        }
    },
    "points": [
        {
            "case": str(EAGER),
            "flops": 824_000_000,
            "compulsory_bytes": 1_600_000,
            "intensity": 515.0,
            "flops_per_s": 120e9,
            "attainable_flops_per_s": 300e9,
            "share": 0.4,
            "bound": "compute",
            "reason": None,
        }
    ],
}


def a_profile(**told: object) -> CaseProfile:
    overview = {
        "wall_s": 0.010,
        "parts": dict.fromkeys(PARTS, 0.0) | {"operator": 0.007, "other": 0.003},
        "recommendations": [
            {
                "finding": "Python overhead",
                "reason": "30 % of the step runs neither an operator nor a kernel",
                "value": 0.3,
                "threshold": 0.2,
                "advice": "a larger batch",
            }
        ],
    }
    summary = {
        "lean": {
            "uncovered_share": 0.25,
            "uncovered_s": 0.002,
            "step_s": 0.008,
            "parts": dict.fromkeys(PARTS, 0.0) | {"operator": 0.006, "other": 0.002},
        }
    }
    tables = {"layers": RESNET, "memory": MEMORY, "operators": OPERATORS}
    whole = CaseProfile(EAGER, Path(EAGER.profile), summary, overview, tables)
    return replace(whole, **told)


CHANGE = {
    "status": "ok",
    "a": {"case": "x/eager", "unprofiled_step_s": 0.010},
    "b": {"case": "x/inductor", "unprofiled_step_s": 0.008},
    "sentence": "A profiled step of x/inductor takes 8 ms.",
    "warning": "Without the profiler it is the other way round.",
    "account": [
        {
            "name": "aten::threshold_backward",
            "calls_a": 2.0,
            "calls_b": 0.0,
            "a_s": 0.004,
            "b_s": 0.0,
            "gained_s": -0.004,
        }
    ],
}
