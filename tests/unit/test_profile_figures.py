"""Figures of profiles, and what the report makes of them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from record_factory import house_price_records

from torchmodes.cases import parse_case
from torchmodes.profiling.files import LAYER_COLUMNS, MEMORY_COLUMNS
from torchmodes.profiling.overview import PARTS
from torchmodes.report.data import Profile, make_report_data
from torchmodes.report.figures.profiles import draw_layers, draw_memory, draw_parts, icicle
from torchmodes.report.figures.roofline import draw_roofline
from torchmodes.report.html import render_report
from torchmodes.report.style import figure_style

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


def a_profile(**told: object) -> Profile:
    overview = {
        "wall_s": 0.010,
        "parts": dict.fromkeys(PARTS, 0.0) | {"operator": 0.007, "other": 0.003},
        "recommendations": [
            {
                "finding": "Python overhead",
                "reason": "30% of the step runs neither an operator nor a kernel",
                "value": 0.3,
                "threshold": 0.2,
                "advice": "a larger batch",
            }
        ],
    }
    summary = {"lean": {"uncovered_share": 0.25, "uncovered_s": 0.002, "step_s": 0.008}}
    whole = Profile(
        EAGER, (), None, {}, summary=summary, overview=overview, layers=RESNET, memory=MEMORY
    )
    return replace(whole, **told)


def texts(figure: Figure) -> str:
    with figure_style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def test_an_icicle_puts_modules_below_what_calls_them():
    blocks = {block.layer: block for block in icicle(RESNET)}
    assert (blocks["(model)"].start, blocks["(model)"].width) == (0, 1)
    # layer1 itself never runs: its blocks belong to the model
    starts = {name: round(blocks[name].start, 6) for name in ("layer1.0", "layer1.2", "fc")}
    assert starts == {"layer1.0": 0, "layer1.2": 0.4, "fc": 0.7}
    assert blocks["layer1.10"].start == pytest.approx(0.5)
    assert [blocks[n].level for n in ("(model)", "layer1.0", "layer1.0.conv1")] == [0, 1, 2]
    assert blocks["layer1.0.conv1"].width == pytest.approx(0.3)
    assert max(block.start + block.width for block in blocks.values()) <= 1 + 1e-9


def test_an_icicle_without_its_root_is_as_wide_as_its_modules():
    blocks = icicle(layers(("layers.0", "Linear", 30), ("layers.1", "ReLU", 10)))
    assert [(block.start, block.width) for block in blocks] == [(0, 0.75), (0.75, 0.25)]
    assert icicle(layers()) == []


def test_figures_show_what_there_is_and_say_when_there_is_nothing():
    with figure_style():
        assert "operators on the CPU" in texts(draw_parts([a_profile()]))
        assert "kernels" not in texts(draw_parts([a_profile()]))
        assert "conv1" in texts(draw_layers(a_profile()))
        assert "first call" in texts(draw_memory(a_profile()))
        assert "house_price b2048" in texts(draw_roofline(ROOFLINE))
        empty = a_profile(
            layers=layers(), memory=None, overview={}, summary={"layers": "none: compiled"}
        )
        assert "No case was profiled" in texts(draw_parts([empty]))
        assert "none: compiled" in texts(draw_layers(empty))
        assert "no memory was recorded" in texts(draw_memory(empty))
        assert "No profiled case" in texts(draw_roofline({"machines": {}, "points": []}))


def test_the_report_explains_a_profile(tmp_path: Path):
    folder = tmp_path / "results/profile" / str(EAGER)
    folder.mkdir(parents=True)
    (folder / "kernels.csv").write_text("")
    change = {
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
    data = make_report_data(
        house_price_records(),
        profiles=[a_profile(traces=(folder / "trace.json.gz",))],
        roofline=ROOFLINE,
        diffs=[change, {"status": "unsupported", "reason": "no GPU"}],
    )
    html = render_report(data, path=tmp_path / "reports/report.html")
    why = html[html.index('<section id="why"') : html.index('<section id="missing"')]
    assert why.count("<svg") == 3  # parts, roofline, layers
    assert f'href="../results/profile/{EAGER}/kernels.csv"' in why
    assert "python.csv" not in why  # a link leads to what is there
    assert "In 25\N{NARROW NO-BREAK SPACE}% of a step" in why
    assert "<strong>Python overhead</strong>: 30% of the step" in why
    assert "A profiled step of x/inductor takes 8 ms." in why
    assert "Without the profiler it is the other way round." in why
    assert "−4.00\N{NARROW NO-BREAK SPACE}ms" in why
    assert "compute" in why
