"""Figures: every one of every kind of run, one look per mode, the same bytes each time."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from record_factory import ENVIRONMENT, house_price_records, make_record, make_training

from torchmodes.measure.combine import combine
from torchmodes.report import style
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.figures import figure_named, figures_of
from torchmodes.report.figures.batches import lines
from torchmodes.report.figures.heat import FASTER, SLOWER, heat_maps, shade
from torchmodes.report.figures.ratios import ratio_axis, ratio_limits
from torchmodes.report.figures.runs import draw_runs
from torchmodes.report.formatting import estimate, speed_up
from torchmodes.report.plots import inline_svg, render, save
from torchmodes.report.sentences import verdict
from torchmodes.results.records import Interval

ROOT = Path(__file__).parents[2]
PLOTS = [entry.name for entry in figures_of("records", "trainings")]
CASE = "training/cpu/house_price/{}/fp32-b2048"
SEVERAL = "inference/cpu/{}/{}/fp32-b{}"


def several_models(**speed_ups: float) -> ReportData:
    """Two models at two batch sizes, in eager and the modes given."""
    return make_report_data(
        [
            make_record(
                SEVERAL.format(model, mode, batch), speed_up=s, baseline_s=7e-3 * batch, seed=seed
            )
            for seed, (mode, s) in enumerate({"eager": 1.0, **speed_ups}.items())
            for model in ("gpt2", "resnet50")
            for batch in (1, 8)
        ]
        + [make_record(SEVERAL.format("gpt2", "trace", 1), status="unsupported")]
    )


def several_runs() -> ReportData:
    """Two models at two batch sizes, each case measured in two processes."""
    once = several_models(fx=1.2).records
    again = [
        make_record(record.identity, speed_up=1.3, seed=90 + number) if record.samples else record
        for number, record in enumerate(once)
    ]
    return make_report_data(combine(both) for both in zip(once, again, strict=True))


RUNS = {
    "several models": lambda: several_models(inductor=1.2, fx=0.9),
    "default": lambda: make_report_data(
        house_price_records(), trainings=[make_training("eager"), make_training("fx", offset=1e-5)]
    ),
    "several runs": several_runs,
    "eager alone": lambda: make_report_data(
        [make_record(CASE.format("eager"))], trainings=[make_training("eager")]
    ),
    "all failed": lambda: make_report_data([make_record(CASE.format("fx"), status="failed")]),
    "three blocks": lambda: make_report_data([make_record(CASE.format("fx"), blocks=3)]),
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
    save(render(figure_named(name), data), tmp_path / "figure.svg")
    told = " ".join(texts(tmp_path / "figure.svg"))
    assert ("nothing to show" in told) != bool(figure_named(name).is_in(data))


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_data_give_the_same_bytes(tmp_path: Path, default: ReportData, name: str) -> None:
    for file in ("one.svg", "two.svg"):
        save(render(figure_named(name), default), tmp_path / file)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_text_is_text_and_every_axis_has_a_unit(tmp_path: Path, default: ReportData) -> None:
    units = {
        "speed_up": "1.05",
        "latency": "time of a step",
        "runs": "times as fast as eager",
        "trade_off": "peak memory above the start",
        "cost": "until the first result",
        "break_even": "steps",
        "losses": "epoch",
        "heat_map": "×",
        "batches": "rows per second",
    }
    several = RUNS["several runs"]()
    assert units.keys() == set(PLOTS)
    for name, unit in units.items():
        data = default if figure_named(name).is_in(default) else several
        save(render(figure_named(name), data), tmp_path / f"{name}.svg")
        assert any(unit in text for text in texts(tmp_path / f"{name}.svg")), name


def test_the_forest_plot_writes_each_speed_up_and_verdict(
    tmp_path: Path, default: ReportData
) -> None:
    save(render(figure_named("speed_up"), default), tmp_path / "figure.svg")
    written = " ".join(texts(tmp_path / "figure.svg"))
    for judged in default.cases:
        assert judged.record.statistics is not None
        assert speed_up(judged.record.statistics.speed_up) in written
        assert verdict(judged) in written
    assert "noise check" in written


def test_the_heat_map_writes_every_speed_up_and_shades_by_verdict(tmp_path: Path) -> None:
    data = several_models(inductor=1.5, fx=0.7, same=1.0)
    save(render(figure_named("heat_map"), data), tmp_path / "figure.svg")
    written = texts(tmp_path / "figure.svg")
    competing = [judged for judged in data.cases if judged.competes]
    assert len(competing) == 12
    for judged in competing:
        assert judged.record.statistics is not None
        assert estimate(judged.record.statistics.speed_up) in written
    assert "n/a" in written
    shades = {judged.name: shade(judged) for judged in competing}
    assert shades["inductor"][0] == FASTER
    assert shades["fx"][0] == SLOWER
    swapped = several_models(inductor=0.7, fx=1.5)
    assert {j.name: shade(j)[0] for j in swapped.cases if j.competes} == {
        "inductor": SLOWER,
        "fx": FASTER,
    }


@pytest.mark.parametrize("name", ["speed_up", "heat_map"])
def test_marks_in_the_page_name_their_case(name: str) -> None:
    cases = [f"inference/cpu/{model}/fx/fp32-b1" for model in ("gpt2", "resnet50")]
    data = make_report_data([make_record(case) for case in cases])
    svg = inline_svg(render(figure_named(name), data), prefix="a", label="it")
    assert set(re.findall(r'data-case="([^"]*)"', svg)) == set(cases)


def test_the_heat_map_never_mixes_machines_and_needs_two_models() -> None:
    elsewhere = copy.deepcopy(ENVIRONMENT)
    elsewhere["machine"]["host"] = "bench-2"
    one = make_record(SEVERAL.format("gpt2", "fx", 1))
    other = make_record(SEVERAL.format("resnet50", "fx", 1), environment=elsewhere)
    assert heat_maps(make_report_data([one, other])) == []
    together = make_record(SEVERAL.format("resnet50", "fx", 1))
    assert len(heat_maps(make_report_data([one, together]))) == 1


def test_lines_over_batch_sizes_need_two_of_them() -> None:
    data = several_models(fx=1.2)
    for deployment in data.deployments:
        assert list(lines(data, deployment)) == [("eager", "fp32"), ("fx", "fp32")]
    assert not figure_named("batches").is_in(make_report_data(house_price_records()))


def test_figures_of_several_machines_name_them(tmp_path: Path) -> None:
    elsewhere = copy.deepcopy(ENVIRONMENT)
    elsewhere["machine"]["host"] = "bench-2"
    records = [make_record(CASE.format("fx"), environment=e) for e in (ENVIRONMENT, elsewhere)]
    save(render(figure_named("speed_up"), make_report_data(records)), tmp_path / "figure.svg")
    written = " ".join(texts(tmp_path / "figure.svg"))
    assert "bench-1" in written
    assert "bench-2" in written


def test_one_hopeless_interval_does_not_squeeze_the_others() -> None:
    good = Interval(estimate=1.2, low=1.1, high=1.3)
    low, high = ratio_limits([good])
    assert 0.9 < low < 1
    assert 1.3 < high < 1.4
    nothing = Interval(estimate=1e18, low=0.0, high=1e36)
    assert ratio_limits([good, nothing]) == ratio_limits([good])
    wide = Interval(estimate=0.9, low=0.5, high=1.9)
    low, high = ratio_limits([good, wide, Interval(estimate=1.0, low=None, high=None)])
    assert 0.25 < low < 0.9
    assert 1.3 < high < 4
    low, high = ratio_limits([good, Interval(estimate=40.0, low=39.0, high=41.0)])
    assert low < 1
    assert high > 41


def test_an_unknown_figure_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match="speed_up"):
        figure_named("speedup")


def test_a_mode_looks_the_same_everywhere_and_unlike_its_neighbours() -> None:
    known = ["eager", "inductor", "inductor-step", "fx", "fx-custom-op", "torchscript"]
    assert len({style.look(mode).colour for mode in known}) == len(known)
    assert style.look("my-own-mode") == style.look("my-own-mode")
    assert style.look("my-own-mode").colour in style.PALETTE.values()


def test_each_case_has_its_own_runs_over_time_on_scales_that_compare() -> None:
    data = several_runs()
    figure = draw_runs(data.about(data.deployments[0]))
    names = [axes.texts[0].get_text() for axes in figure.axes]
    assert names == ["eager", "fx"] * 2, "two batch sizes"
    spans = [round(np.log(np.divide(*axes.get_ylim()[::-1])), 6) for axes in figure.axes]
    assert spans[0] == spans[1]
    assert spans[2] == spans[3]
    fx = next(c for c in data.cases if c.name == "fx")
    drawn = sorted(float(line.get_ydata()[0]) for line in figure.axes[1].lines[1:-1])
    assert drawn == pytest.approx(sorted(np.exp(run.log_speed_up) for run in fx.record.runs))


def test_modes_are_told_apart_by_more_than_colour() -> None:
    """Of the modes of config.yaml, as a colour-blind reader or a black-and-white print has them."""
    configuration = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    looks = {name: style.look(name) for name in configuration["modes"]}
    signs = [(seen.marker, seen.line) for seen in looks.values()]
    assert len(set(signs)) == len(signs), looks


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
    svg = inline_svg(render(figure_named("cost"), default), prefix="cost-7", label='a "label" <b>')
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
    render(figure_named("speed_up"), default)
    assert (mpl.rcParams["svg.fonttype"], mpl.rcParams["font.size"]) == before


def test_labels_of_a_narrow_axis_of_ratios_stand_apart() -> None:
    counts = []
    for inches in (8.0, 2.0):
        figure, ax = plt.subplots(figsize=(inches, 1.0))
        ratio_axis(ax, (0.9, 1.4))
        figure.draw_without_rendering()
        spans = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert all(one.x1 < other.x0 for one, other in pairwise(spans))
        counts.append(len(spans))
        plt.close(figure)
    assert counts[0] > counts[1] > 1


@pytest.mark.parametrize("slowest_s", [1e-3, 0.04, 1.0, 50.0])
def test_labels_of_latencies_far_apart_stand_apart(slowest_s: float) -> None:
    fast, slow = "inference/cpu/m/eager/fp32-b8", "inference/cpu/m/fx/fp32-b8"
    records = [make_record(fast, baseline_s=2e-5), make_record(slow, baseline_s=slowest_s)]
    figure = figure_named("latency").draw(make_report_data(records))
    figure.draw_without_rendering()
    (ax,) = [ax for ax in figure.axes if ax.get_xscale() == "log"]
    low, high = ax.get_xlim()
    shown = [
        label.get_window_extent()
        for label in ax.get_xticklabels()
        if label.get_text() and low <= label.get_position()[0] <= high
    ]
    assert len(shown) > 1
    assert all(one.x1 < other.x0 for one, other in pairwise(shown))
