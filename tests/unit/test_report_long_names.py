"""No name makes a figure fail, and all that is written in one lies inside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from profile_factory import MEMORY, ROOFLINE, a_profile, layers
from record_factory import make_record, make_training

from torchmodes.planning.cases import parse_case
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.comparison.changes import compare
from torchmodes.report.comparison.figures import draw_changes, draw_history
from torchmodes.report.comparison.runs import ComparedRun
from torchmodes.report.data import ReportData, Study, make_report_data
from torchmodes.report.figures import figure_named, figures_of
from torchmodes.report.figures.panels import row_label, shortened, text_width, wrapped
from torchmodes.report.plots import render
from torchmodes.report.studies import draw_study
from torchmodes.report.style import figure_style
from torchmodes.studies.catalogue import STUDIES

PLOTS = [entry.name for entry in figures_of("records", "trainings")]
LONGEST = {
    "words": "my-own-vision-transformer-with-registers-distilled-v2-final-2026",
    "wide": "W" * 64,
}
BATCHES = (1, 2048)


@cache
def run_with(name: str) -> ReportData:
    """Two models and two modes of that name, at two batch sizes, on a host of that name."""
    paths = [
        f"training/cpu/{model}/{mode}/fp32-b{size}"
        for model in (name, f"{name[:-1]}2")
        for mode in ("eager", name, f"{name[:-1]}3")
        for size in BATCHES
    ]
    records = [
        make_record(path, item=name[:32], speed_up=1.0 + 0.1 * (seed % 3), seed=seed)
        for seed, path in enumerate(paths)
    ]
    trainings = [make_training("eager"), make_training(name, offset=1e-5)]
    return make_report_data(records, trainings=trainings)


def plot(figure: str) -> Callable[[str], Figure]:
    return lambda name: render(figure_named(figure), run_with(name))


def study(kind: str) -> Callable[[str], Figure]:
    speed_up = {"estimate": 0.9, "low": 0.8, "high": 0.95}

    def draw(name: str) -> Figure:
        case = parse_case(f"training/cpu/{name}/{name}/fp32-b2048").identity()
        row = {
            "case": case,
            "cold_s": 9.0,
            "warm_s": 3.0,
            "context": "no_grad",
            "speed_up": speed_up,
            "verdict": "slower",
            "points": [
                {
                    "threads": n,
                    "position": n,
                    "latency_s": 0.1,
                    "eager_s": 0.1,
                    "speed_up": speed_up,
                }
                for n in (1, 2)
            ],
            "variant": "mark_dynamic",
            "drop_last": None,
            "calls": [{"batch_size": 1, "seconds": 2.0}, {"batch_size": 2, "seconds": 1.0}],
        }
        points = [
            {"batch_size": size, "latency_s": size / 9, "throughput_per_s": 9.0} for size in BATCHES
        ]
        series = {**case, "item": name[:32], "knee": 1, "points": points}
        content = {"cases": [row], "series": [series]}
        return draw_study(Study(kind, STUDIES[kind].result.model_validate(content)))

    return draw


def profile_of(name: str, **changes: object) -> CaseProfile:
    case = parse_case(f"training/cuda/{name}/{name}/fp32-b2048")
    table = layers(("(model)", name, 100), (name, name, 60), ("fc", f"{name}2", 40))
    return a_profile(case=case, **{"tables": {"layers": table, "memory": MEMORY}, **changes})


def comparison_of(name: str) -> Figure | None:
    run = ComparedRun("base", {record.identity: record for record in run_with(name).records})
    return draw_changes(compare(run, run))


def history_of(name: str) -> Figure | None:
    run = ComparedRun("base", {record.identity: record for record in run_with(name).records})
    return draw_history([run, run, run])


def roofline_of(name: str) -> Figure:
    points = [
        {
            **ROOFLINE["points"][0],
            "case": f"training/cpu/{name}/{name}/fp32-b{size}",
            "intensity": intensity,
        }
        for size, intensity in zip(BATCHES, (1.0, 515.0), strict=True)
    ]
    return render(
        figure_named("roofline"), make_report_data([], roofline={**ROOFLINE, "points": points})
    )


FIGURES: dict[str, Callable[[str], Figure | None]] = {
    **{f"plot {name}": plot(name) for name in PLOTS},
    **{f"study {name}": study(name) for name in STUDIES},
    "parts": lambda name: render(
        figure_named("step_parts"), make_report_data([], profiles=[profile_of(name)])
    ),
    "layers": lambda name: render(
        figure_named("layers"), make_report_data([], profiles=[profile_of(name)])
    ),
    "memory": lambda name: render(figure_named("memory"), profile_of(name)),
    "no memory": lambda name: render(figure_named("memory"), profile_of(name, tables={})),
    "roofline": roofline_of,
    "changes": comparison_of,
    "history": history_of,
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("kind", LONGEST)
def test_all_that_is_drawn_lies_inside_the_figure(kind: str, figure: str) -> None:
    with figure_style():
        drawn = FIGURES[figure](LONGEST[kind])
        assert drawn is not None
        box = drawn.get_tightbbox(FigureCanvasAgg(drawn).get_renderer())
    width, height = drawn.get_size_inches()
    outside = {
        "left": -box.x0,
        "below": -box.y0,
        "right": box.x1 - width,
        "above": box.y1 - height,
    }
    assert {side: by for side, by in outside.items() if by > 0.01} == {}


def test_names_that_differ_at_their_ends_stay_apart() -> None:
    names = [f"{'a-long-name-' * 8}{end}" for end in ("one", "two")]
    labels = set(map(row_label, names))
    assert len(labels) == 2
    assert all(label.count("\n") == 1 for label in labels)
    short = {shortened(name, 1.0, size=9) for name in names}
    assert len(short) == 2
    assert all(text_width(label, size=9) <= 1.0 for label in short)


def test_a_text_is_wrapped_where_it_has_to_be() -> None:
    assert wrapped("one line", 3, size=9) == ["one line"]
    lines = wrapped("gpt2 · inference · batch 8 · cpu · " * 3, 2, size=9, bold=True)
    assert len(lines) > 1
    assert all(text_width(line, size=9, bold=True) <= 2 for line in lines)
    assert "".join(wrapped("W" * 50, 1, size=9)) == "W" * 50
    assert shortened("W" * 50, 0.001, size=9) == "…"
