"""Figures of profiles, and what the report makes of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from profile_factory import CHANGE, EAGER, RESNET, ROOFLINE, a_profile, layers
from record_factory import house_price_records

from torchmodes.report.data import make_report_data
from torchmodes.report.figures.profiles import draw_layers, draw_memory, draw_parts, icicle
from torchmodes.report.figures.roofline import draw_roofline
from torchmodes.report.html import render_report
from torchmodes.report.style import figure_style

UNSUPPORTED = {"status": "unsupported", "reason": "no GPU", "a": CHANGE["a"], "b": CHANGE["b"]}


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
    data = make_report_data(
        house_price_records(),
        profiles=[a_profile(traces=(folder / "trace.json.gz",))],
        roofline=ROOFLINE,
        diffs=[CHANGE, UNSUPPORTED],
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
    assert "<p>no GPU</p>" in why
    assert "−4.00\N{NARROW NO-BREAK SPACE}ms" in why
    assert "compute" in why
