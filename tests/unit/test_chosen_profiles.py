"""What is profiled once all is measured: the pick of each group, with eager beside it."""

from __future__ import annotations

import pytest
from record_factory import make_record

from torchmodes.config.layers import only_named
from torchmodes.measure.combine import combine
from torchmodes.report.chosen_profiles import choose_profiles
from torchmodes.report.data import make_report_data
from torchmodes.results.chosen import read_chosen
from torchmodes.results.reading import CorruptFile
from torchmodes.results.records import Record


def case(model: str, mode: str) -> str:
    return f"inference/cpu/{model}/{mode}/fp32-b1"


def measured(model: str, mode: str, *speed_ups: float) -> Record:
    return combine(
        [
            make_record(case(model, mode), speed_up=s, noise=0.002, seed=i + 10 * len(mode))
            for i, s in enumerate(speed_ups)
        ]
    )


CASES = make_report_data(
    [
        measured("resnet50", "eager", 1.0, 1.001, 0.999),
        measured("resnet50", "onnxruntime", 1.62, 1.65, 1.68),
        measured("resnet50", "inductor", 1.2, 1.21, 1.22),
        measured("gpt2", "eager", 1.0, 1.002, 0.998),
        measured("gpt2", "inductor", 0.97, 0.96, 0.965),
    ]
).cases
EAGER, PICK, SECOND = (case("resnet50", mode) for mode in ("eager", "onnxruntime", "inductor"))


def test_each_groups_eager_and_pick_are_profiled_and_compared():
    found = choose_profiles(CASES, runner_up=False)
    assert set(found.cases) == {EAGER, PICK, case("gpt2", "eager")}, "gpt2 ships eager"
    assert found.diffs == ((EAGER, PICK),)


def test_the_runner_up_is_profiled_on_demand():
    found = choose_profiles(CASES, runner_up=True)
    assert SECOND in found.cases
    assert set(found.diffs) == {(EAGER, PICK), (EAGER, SECOND)}


def test_what_is_chosen_is_read_as_it_was_written(tmp_path):
    found, file = choose_profiles(CASES, runner_up=True), tmp_path / "chosen.json"
    file.write_text(found.model_dump_json())
    assert read_chosen(file) == found
    assert [(str(a), str(b)) for a, b in read_chosen(file).compared] == list(found.diffs)


def test_a_broken_choice_is_named_with_what_to_do(tmp_path):
    file = tmp_path / "chosen.json"
    file.write_text('{"cases": 7}')
    with pytest.raises(CorruptFile, match=r"chosen\.json.*delete it"):
        read_chosen(file)


PROFILE = {"picks": True, "cases": [], "active": 3}


@pytest.mark.parametrize(
    ("layer", "picks"),
    [
        ({"seed": 7}, True),
        ({"profile": {"cases": ["a block"]}}, False),
        ({"profile": {"cases": ["a block"], "picks": True}}, True),
        ({"benchmark": ["a block"]}, False),
        ({"benchmark": ["a block"], "profile": {"picks": True}}, True),
    ],
)
def test_who_lists_cases_means_these(layer, picks):
    merged = {"profile": {**PROFILE, **layer.get("profile", {})}, "benchmark": []}
    assert only_named(merged, [layer])["profile"]["picks"] is picks
