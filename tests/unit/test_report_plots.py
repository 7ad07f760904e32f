"""Figures: every one of every kind of run, one look per mode, the same bytes each time."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from record_factory import house_price_records, make_record, make_training

from torchmodes.report import style
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.plots import PLOTS, inline_svg, render, save

CASE = "training/cpu/house_price/{}/fp32-b2048"
RUNS = {
    "default": lambda: make_report_data(
        house_price_records(), trainings=[make_training("eager"), make_training("fx", offset=1e-5)]
    ),
    "eager alone": lambda: make_report_data(
        [make_record(CASE.format("eager"))], trainings=[make_training("eager")]
    ),
    "all failed": lambda: make_report_data([make_record(CASE.format("fx"), status="failed")]),
    "three quads": lambda: make_report_data([make_record(CASE.format("fx"), quads=3)]),
    "no spread": lambda: make_report_data([make_record(CASE.format("fx"), noise=0.0)]),
    "300 times slower": lambda: make_report_data([make_record(CASE.format("fx"), speed_up=0.003)]),
    "nothing": lambda: make_report_data([]),
}


@pytest.fixture(scope="module")
def default() -> ReportData:
    return RUNS["default"]()


def texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return [text for e in root.iter("{http://www.w3.org/2000/svg}text") if (text := e.text)]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", PLOTS)
def test_every_figure_can_be_drawn_of_every_run(tmp_path: Path, run: str, name: str) -> None:
    data = RUNS[run]()
    save(render(name, data), tmp_path / "figure.svg")
    told = " ".join(texts(tmp_path / "figure.svg"))
    assert ("nothing to show" in told) != PLOTS[name].has_data(data)


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_data_give_the_same_bytes(tmp_path: Path, default: ReportData, name: str) -> None:
    for file in ("one.svg", "two.svg"):
        save(render(name, default), tmp_path / file)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_text_is_text_and_every_axis_has_a_unit(tmp_path: Path, default: ReportData) -> None:
    units = {
        "speed_up": "times as fast as eager",
        "latency": "ms per step",
        "throughput": "rows per second",
        "cost": "cold start in s",
        "break_even": "steps",
        "losses": "epoch",
    }
    for name, unit in units.items():
        save(render(name, default), tmp_path / f"{name}.svg")
        assert any(unit in text for text in texts(tmp_path / f"{name}.svg")), name


def test_the_forest_plot_writes_each_speed_up_and_verdict(
    tmp_path: Path, default: ReportData
) -> None:
    save(render("speed_up", default), tmp_path / "figure.svg")
    written = " ".join(texts(tmp_path / "figure.svg"))
    for judged in default.cases:
        assert judged.record.statistics is not None
        assert f"{judged.record.statistics.speed_up.estimate:.3f}×" in written
        assert f"{judged.verdict}" in written


def test_an_unknown_figure_is_refused_with_the_known_names(default: ReportData) -> None:
    with pytest.raises(ValueError, match="speed_up"):
        render("speedup", default)


def test_a_mode_looks_the_same_everywhere_and_unlike_its_neighbours() -> None:
    known = ["eager", "inductor", "inductor-step", "fx", "fx-custom-op", "torchscript"]
    assert len({style.look(mode).colour for mode in known}) == len(known)
    assert style.look("my-own-mode") == style.look("my-own-mode")
    assert style.look("my-own-mode").colour in style.PALETTE.values()


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_out_on_paper_and_in_the_dark() -> None:
    css = (Path(style.__file__).parent / "templates/report.css").read_text(encoding="utf-8")
    pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", css))
    themes = {name: value.split(", ") for name, value in pairs.items()}
    for theme in (0, 1):
        card = themes["card"][theme]
        for name in (*style.PALETTE, "baseline"):
            assert contrast(themes[f"figure-{name}"][theme], card) >= 3, name
        for name in ("ink", "muted", "accent", "good", "bad", "alert", "open"):
            assert contrast(themes[name][theme], card) >= 4.5, name
            assert contrast(themes[name][theme], themes["page"][theme]) >= 4.5, name
        for name in ("good", "bad", "alert", "open"):
            assert contrast(themes[name][theme], themes[f"{name}-soft"][theme]) >= 4.5, name


def test_an_inlined_figure_follows_the_theme_and_keeps_its_ids_apart(default: ReportData) -> None:
    svg = inline_svg(render("cost", default), prefix="cost-7", label='a "label" <b>')
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'a "label" <b>'
    assert re.search(r"#[0-9a-f]{6}\b", svg) is None
    assert set(re.findall(r"var\(--([\w-]+)\)", svg)) <= set(style.variables())
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids
    assert all(found.startswith("cost-7-") for found in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)


def test_figures_leave_the_settings_of_matplotlib_alone(default: ReportData) -> None:
    import matplotlib as mpl

    before = mpl.rcParams["svg.fonttype"], mpl.rcParams["font.size"]
    render("speed_up", default)
    assert (mpl.rcParams["svg.fonttype"], mpl.rcParams["font.size"]) == before
