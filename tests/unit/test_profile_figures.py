"""Figures of profiles, and what the report makes of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from profile_factory import CHANGE, EAGER, RESNET, ROOFLINE, a_profile, layers
from record_factory import house_price_records

from torchmodes.profiling.diff import diff_profiles
from torchmodes.profiling.reading import (
    CaseProfile,
    machine_or_reason,
    read_profile,
    summary_or_reason,
)
from torchmodes.profiling.roofline import roof_of, roofline
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.figures import figure_named
from torchmodes.report.figures.profiles import icicle
from torchmodes.report.html import render_report
from torchmodes.report.loading import load_report_data
from torchmodes.report.plots import render
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


def drawn(name: str, content: ReportData | CaseProfile) -> str:
    return texts(render(figure_named(name), content))


def test_figures_show_what_there_is_and_say_when_there_is_nothing():
    data = make_report_data([], profiles=[a_profile()], roofline=ROOFLINE)
    assert "conv1" in drawn("layers", data)
    assert "first call" in drawn("memory", a_profile())
    assert "house_price b2048" in drawn("roofline", data)
    empty = a_profile(
        tables={"layers": layers()}, overview={}, summary={"layers": "none: compiled"}
    )
    assert "nothing to show" in drawn("memory", empty)
    for name in ("step_parts", "roofline", "layers"):
        assert "nothing to show" in drawn(name, make_report_data([], profiles=[empty]))


def test_the_report_explains_a_profile(tmp_path: Path):
    folder = tmp_path / "results/profile" / str(EAGER)
    folder.mkdir(parents=True)
    (folder / "kernels.csv").write_text("")
    data = make_report_data(
        house_price_records(),
        profiles=[a_profile(folder=folder)],
        roofline=ROOFLINE,
        diffs=[CHANGE, UNSUPPORTED],
    )
    html = render_report(data, path=tmp_path / "reports/report.html")
    why = html[html.index('<section id="why"') : html.index('<section id="missing"')]
    assert why.count("<svg") == 3  # parts, roofline, layers
    assert f'href="../results/profile/{EAGER}/kernels.csv"' in why
    assert "python.csv" not in why  # a link leads to what is there
    assert "In 25\N{NARROW NO-BREAK SPACE}% of a step" in why
    assert "<strong>Python overhead</strong>: 30 % of the step" in why
    assert "A profiled step of x/inductor takes 8 ms." in why, "no record: as the file says"
    assert "Without the profiler it is the other way round." in why
    assert "<p>no GPU</p>" in why
    assert "−4.00\N{NARROW NO-BREAK SPACE}ms" in why
    assert "compute" in why


WHOLE = {
    "operators.csv": "operator,calls,self_cpu_s,lean_self_s\naten::mm,1,0.1,0.1\n",
    "kernels.csv": "kernel,calls,total_s\n",
    "layers.csv": "layer,kind,order,total_s\n(model),MLP,0,0.1\n",
    "memory.csv": "phase,time_s,rss_bytes,allocated_bytes,reserved_bytes\nsteps,0,,64,\n",
    "overview.json": json.dumps({"wall_s": 0.1, "parts": {"operator": 0.1}}),
    "summary.json": json.dumps(
        {
            "case": {
                "task": "training",
                "device": "cpu",
                "model": "house_price",
                "mode": "eager",
                "precision": "fp32",
                "batch_size": 2048,
            },
            "status": "ok",
            "unprofiled_step_s": 0.1,
            "lean": {"step_s": 0.1, "uncovered_s": 0, "uncovered_share": 0, "parts": {}},
        }
    ),
}
MISSHAPEN = {
    "operators.csv": ["", "name,calls\nx,1\n", "a,b\n1\n1,2,3\n", b"\xff\xfe\x00"],
    "kernels.csv": ["", "kernel\n", "kernel,calls,total_s\nmm,1,long\n"],
    "layers.csv": ["layer,kind\nx,y\n", "layer,kind,order,total_s\nx,y,0,soon\n", ""],
    "memory.csv": ["phase\nsteps\n", WHOLE["memory.csv"].replace("64", "much")],
    "overview.json": [
        *("[]", "{", '"x"', '{"wall_s": "long"}', '{"wall_s": NaN}', '{"wall_s": -1}'),
        *('{"parts": [1]}', '{"parts": {"operator": null}}', '{"recommendations": [{}]}'),
    ],
    "summary.json": [
        *("[]", "null", "{}", '{"status": 3}', '{"status": "ok", "lean": {"step_s": 1}}'),
        *('{"status": "ok", "unprofiled_step_s": "1"}', '{"status": "ok", "case": {}}', "[" * 9999),
    ],
}


@pytest.fixture
def lying(tmp_path, monkeypatch):
    """A profile's folder on the disk, whole."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/profile", str(EAGER))
    folder.mkdir(parents=True)
    for name, text in WHOLE.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in MISSHAPEN.items() for content in contents],
)
def test_a_broken_file_of_a_profile_is_named_and_the_rest_stands(lying, name, content):
    path = lying / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    data = load_report_data([], profiles=[lying])
    (profile,) = data.profiles
    for figure, shown in (("layers", data), ("memory", profile), ("step_parts", data)):
        drawn(figure, shown)
    page = render_report(data)
    assert f"{path} " in page
    assert [str(path) in told for told in profile.broken.values()] == [True]
    changed = diff_profiles(read_profile(lying), read_profile(lying))
    if name in ("layers.csv", "memory.csv"):
        assert changed["status"] == "ok"
    else:
        assert changed["status"] == "unreadable"
        assert f"{path} " in changed["reason"]
    placed = roofline([summary_or_reason(lying / "summary.json")], {}, {})["points"]
    assert [point["case"] for point in placed] == [str(EAGER)]
    assert (f"{path} " in placed[0]["reason"]) == (name == "summary.json")


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{}", '{"machines": {}, "points": [{}]}', '{"machines": 3, "points": []}'),
        json.dumps(ROOFLINE | {"machines": {}}),
        json.dumps(ROOFLINE).replace("training/cpu", "cpu"),
    ],
)
def test_a_broken_roofline_or_diff_is_named_and_the_report_stands(lying, content):
    placed, changed = Path("results/roofline.json"), Path("results/profile/diff/a--vs--b.json")
    changed.parent.mkdir()
    for path in (placed, changed):
        path.write_text(content)
    data = load_report_data([], profiles=[lying], roofline=placed, diffs=[changed])
    page = render_report(data)
    assert f"{placed} " in page
    assert f"{changed} " in page
    assert "aten::mm" in page
    drawn("roofline", data)


def test_a_machine_that_cannot_be_read_has_no_ceilings(tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text('{"status": "ok", "ceilings": [{"threads": 1}]}')
    told = machine_or_reason(path)
    assert str(path) in told["reason"]
    assert roof_of(told, "fp32") is None
    assert roof_of({"status": "ok", "ceilings": []}, "fp32") is None
