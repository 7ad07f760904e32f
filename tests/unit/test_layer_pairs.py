"""Eager against what is shipped, layer by layer."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from profile_factory import a_profile, layers
from record_factory import make_record

from torchmodes.planning.cases import parse_case
from torchmodes.profiling.files import BY_HOOKS
from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.figures import figure_named
from torchmodes.report.figures.layer_pairs import (
    MOST,
    REST,
    SHOWN,
    layers_missing,
    level_of_both,
    paired_layers,
)
from torchmodes.report.formatting import ratio
from torchmodes.report.html import render_report
from torchmodes.report.plots import render
from torchmodes.report.style import figure_style

CASE = "inference/cpu/net/{}/fp32-b1"
EAGER = layers(
    ("(model)", "Net", 10),
    ("net.block.0", "Block", 6),
    ("net.block.0.lin", "Linear", 5),
    ("net.block.1", "Block", 3),
    ("net.head", "Linear", 1),
)
FUSED = layers(("(model)", "Net", 3), ("net.block.0", "Block", 1), ("net.block.1", "Block", 1))


def profile(mode: str, table: pd.DataFrame, step_s: float, told: str = BY_HOOKS) -> CaseProfile:
    made = a_profile(case=parse_case(CASE.format(mode)))
    lean = made.summary["lean"] | {"step_s": step_s}
    tables = {**made.tables, "layers": table}
    return a_profile(case=made.case, tables=tables, summary={"lean": lean, "layers": told})


def data(shipped: pd.DataFrame, told: str = "by module") -> ReportData:
    records = [
        make_record(CASE.format("eager"), noise=0.001),
        make_record(CASE.format("onnxruntime"), speed_up=2.0, noise=0.001),
    ]
    profiles = [profile("eager", EAGER, 0.030), profile("onnxruntime", shipped, 0.004, told)]
    return make_report_data(records, profiles=profiles)


def test_the_rows_of_each_mode_add_up_to_its_measured_time():
    (pair,) = paired_layers(data(FUSED))
    assert [row.name for row in pair.rows] == ["block.0", "block.1", REST]
    assert sum(row.eager for row in pair.rows) == pytest.approx(1)
    assert sum(row.shipped for row in pair.rows) == pytest.approx(pair.shipped.length)
    assert pair.shipped.length == pytest.approx(0.5, rel=0.01)
    # Hooks saw a forward pass of 10 ms, in a run of their own; the engine's step is 4 ms.
    assert pair.rows[0].eager == pytest.approx(0.6)
    assert pair.rows[0].shipped == pytest.approx(0.25 * pair.shipped.length)


def test_the_level_is_the_finest_that_has_not_too_many_modules():
    blocks = [(f"h.{i}", "Block", 5) for i in range(SHOWN + 2)]
    parts = [(f"h.{i}.{part}", "Linear", 2) for i in range(SHOWN + 2) for part in ("a", "b")]
    table = layers(("(model)", "Net", 70), ("head", "Linear", 10), *blocks, *parts)
    assert len(parts) > MOST
    assert level_of_both(table, table) == ["head", *(name for name, *_ in blocks)]


def test_layers_beyond_the_ten_largest_are_summed():
    blocks = [(f"h.{i}", "Block", i + 1) for i in range(SHOWN + 2)]
    table = layers(("(model)", "Net", 100), *blocks)
    records = [make_record(CASE.format(m), noise=0.001) for m in ("eager", "onnxruntime")]
    profiles = [profile(mode, table, 0.08) for mode in ("eager", "onnxruntime")]
    (pair,) = paired_layers(make_report_data(records, profiles=profiles))
    assert [row.name for row in pair.rows] == [*(f"h.{i}" for i in range(2, SHOWN + 2)), REST]
    assert pair.rows[-1].eager == pytest.approx(0.22 + 0.03)


def test_the_figure_names_layers_and_how_many_times_as_fast_they_are():
    with figure_style():
        buffer = io.StringIO()
        render(figure_named("by_layer"), data(FUSED)).savefig(buffer, format="svg")
    (pair,) = paired_layers(data(FUSED))
    assert ratio(pair.rows[0].eager / pair.rows[0].shipped) in buffer.getvalue()
    assert REST in buffer.getvalue()


@pytest.mark.parametrize(
    ("table", "told", "said"),
    [
        (layers(), "none: the engine tells none", "the engine tells none"),
        (layers(("other", "Linear", 1)), "by module", "its layers are none of eager&#39;s"),
    ],
)
def test_a_pick_without_layers_has_a_sentence_and_no_figure(table, told, said):
    shown = data(table, told)
    assert paired_layers(shown) == []
    assert len(layers_missing(shown)) == 1
    page = render_report(shown)
    assert f"Not compared by layer: {CASE.format('onnxruntime')}: {said}." in page
    assert "Layer by layer" not in page
