"""Cases: every point of the grid once, its baseline with it, and a path that names it."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from torchmodes.config import parse_config
from torchmodes.config.base import Device, Precision, Task
from torchmodes.config.run import Grid
from torchmodes.planning.cases import (
    CASE_PATTERN,
    Case,
    case_from,
    check_case,
    expand_grids,
    parse_case,
)
from torchmodes.planning.plan import Plan

CONFIG = """
data: {source: mine.csv, features: [a, b, c], target: d}
models:
  house_price: {family: mlp, hidden: [8]}
  mine: {family: user, factory: my/model.py:build, inputs: my/model.py:inputs}
modes:
  eager: {engine: eager}
  inductor: {engine: compile, backend: inductor}
  fx: {engine: fx}
training: {model: house_price, modes: [eager]}
benchmark:
  - {task: training, models: [house_price], modes: [inductor, fx], batch_sizes: [64]}
  - task: inference
    models: [house_price, mine]
    modes: [eager, inductor]
    precisions: [fp32, bf16]
    batch_sizes: [1, 8]
    devices: [auto, cpu]
profile: {}
studies: {}
measurement: {}
"""

names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", fullmatch=True)
cases = st.builds(
    Case,
    task=st.sampled_from(get_args(Task)),
    device=st.sampled_from(get_args(Device)),
    model=names,
    mode=names,
    precision=st.sampled_from(get_args(Precision)),
    batch_size=st.integers(1, 2**40),
)
grids = st.builds(
    Grid,
    task=st.sampled_from(get_args(Task)),
    models=st.lists(st.sampled_from(["house_price", "mine"]), min_size=1, max_size=3),
    modes=st.lists(st.sampled_from(["eager", "inductor", "fx"]), min_size=1, max_size=3),
    precisions=st.lists(st.sampled_from(get_args(Precision)), min_size=1, max_size=3),
    batch_sizes=st.lists(st.integers(1, 64), min_size=1, max_size=3),
    devices=st.lists(st.sampled_from(["auto", *get_args(Device)]), min_size=1, max_size=3),
)


def expand(config, *, auto):
    return expand_grids(config.benchmark, auto=auto)


@pytest.fixture
def raw():
    return yaml.safe_load(CONFIG)


# --- A case and its paths --------------------------------------------------------------------


def test_paths_of_a_case():
    case = Case("inference", "cpu", "resnet50", "inductor", "fp32", 8)
    assert case.record == "results/benchmark/inference/cpu/resnet50/inductor/fp32-b8.json"
    assert case.profile == "results/profile/inference/cpu/resnet50/inductor/fp32-b8"
    assert case.run == "resnet50-inductor-fp32-b8"


@given(cases)
def test_a_case_is_found_again_from_each_of_its_paths(case):
    assert parse_case(str(case)) == case
    assert parse_case(case.record) == case
    assert parse_case(f"/elsewhere/{case.profile}/trace.json.gz") == case


@given(cases)
def test_the_pattern_of_cases_is_the_whole_case_and_nothing_beside_it(case):
    assert re.fullmatch(CASE_PATTERN, str(case))
    assert not re.fullmatch(CASE_PATTERN, f"{case}/1")
    assert not re.fullmatch(CASE_PATTERN, f"runs/{case}")


@given(cases)
def test_a_case_is_found_again_from_its_identity_or_strings(case):
    assert case_from(case.identity()) == case
    assert case_from({key: str(value) for key, value in case.identity().items()}) == case


@given(cases, cases)
def test_different_cases_have_different_paths(one, other):
    assert (one == other) == (one.record == other.record) == (one.profile == other.profile)


@pytest.mark.parametrize(
    "path",
    [
        "results/summary.csv",
        "inference/cpu/resnet50/inductor",
        "inference/gpu/resnet50/inductor/fp32-b8.json",
        "infer/cpu/resnet50/inductor/fp32-b8.json",
        "reinference/cpu/resnet50/inductor/fp32-b8.json",
        "inference/cpu/resnet50/inductor/fp23-b8.json",
        "inference/cpu/resnet50/inductor/fp32-b0.json",
        "inference/cpu/resnet50/inductor/fp32-b08.json",
        "inference/cpu/resnet50/inductor/fp32-b8x.json",
        "inference/cpu/res/net50/inductor/fp32-b8.json",
    ],
)
def test_other_paths_name_no_case(path):
    with pytest.raises(ValueError, match="not the path of a case"):
        parse_case(path)


@given(cases)
def test_the_baseline_is_eager_fp32_of_the_same_group_and_its_own_baseline(case):
    baseline = case.baseline
    assert (baseline.mode, baseline.precision) == ("eager", "fp32")
    group = ("task", "device", "model", "batch_size")
    assert [getattr(baseline, key) for key in group] == [getattr(case, key) for key in group]
    assert baseline.is_baseline
    assert baseline.baseline == baseline
    assert case.is_baseline == (case.mode == "eager" and case.precision == "fp32")


# --- The grid --------------------------------------------------------------------------------


def test_blocks_are_expanded_with_auto_resolved(raw):
    found = [str(case) for case in expand(parse_config(raw), auto="cpu") if case.batch_size == 64]
    assert found == [
        "training/cpu/house_price/eager/fp32-b64",
        "training/cpu/house_price/fx/fp32-b64",
        "training/cpu/house_price/inductor/fp32-b64",
    ]


@given(st.lists(grids, min_size=1, max_size=3), st.sampled_from(get_args(Device)))
def test_expansion_is_sorted_unique_complete_and_has_every_baseline(blocks, auto):
    config = parse_config(yaml.safe_load(CONFIG)).model_copy(update={"benchmark": blocks})
    found = expand(config, auto=auto)
    assert found == sorted(set(found))
    assert {case.baseline for case in found} <= set(found)
    assert "auto" not in {case.device for case in found}
    asked = {
        (grid.task, auto if device == "auto" else device, model, mode, precision, batch_size)
        for grid in blocks
        for device in grid.devices
        for model in grid.models
        for mode in grid.modes
        for precision in grid.precisions
        for batch_size in grid.batch_sizes
    }
    assert asked <= {tuple(case.identity().values()) for case in found}
    assert all(case.is_baseline for case in found if tuple(case.identity().values()) not in asked)


def test_the_order_of_blocks_and_lists_does_not_matter(raw):
    turned = copy.deepcopy(raw)
    turned["benchmark"].reverse()
    for block in turned["benchmark"]:
        for values in block.values():
            if isinstance(values, list):
                values.reverse()
    assert expand(parse_config(turned), auto="mps") == expand_grids(
        parse_config(raw).benchmark, auto="mps"
    )


# --- What makes a case stale -----------------------------------------------------------------


def stale(raw, change):
    """Return the cases whose parameters a change of the configuration alters."""
    changed = copy.deepcopy(raw)
    change(changed)
    before, after = parse_config(raw), parse_config(changed)
    return {
        case
        for case in expand(before, auto="cpu")
        if Plan(before, case).parameters != Plan(after, case).parameters
    }


def set_to(*path, value):
    def change(raw):
        *sections, key = path
        for name in sections:
            raw = raw[name]
        raw[key] = value

    return change


def test_an_option_of_a_mode_makes_that_modes_cases_stale_and_no_other(raw):
    found = stale(raw, set_to("modes", "inductor", "dynamic", value=True))
    assert found == {c for c in expand(parse_config(raw), auto="cpu") if c.mode == "inductor"}


def test_an_option_of_a_model_makes_that_models_cases_stale_and_no_other(raw):
    found = stale(raw, set_to("models", "mine", "options", value={"depth": 3}))
    assert found == {c for c in expand(parse_config(raw), auto="cpu") if c.model == "mine"}


def test_another_number_of_features_makes_the_tables_model_stale(raw):
    found = stale(raw, set_to("data", "features", value=["a", "b"]))
    assert found == {c for c in expand(parse_config(raw), auto="cpu") if c.model == "house_price"}


def test_the_learning_rate_makes_training_stale(raw):
    found = stale(raw, set_to("training", "learning_rate", value=0.5))
    assert found == {c for c in expand(parse_config(raw), auto="cpu") if c.task == "training"}


def test_what_a_step_is_makes_the_models_training_stale_and_no_forward_pass(raw):
    block = {"task": "training", "models": ["mine"], "modes": ["eager"], "batch_sizes": [1]}
    raw["benchmark"].append(block)
    found = stale(raw, set_to("models", "mine", "train", value={"optimizer": "sgd"}))
    assert {str(case) for case in found} == {"training/cpu/mine/eager/fp32-b1"}
    assert not found & stale(raw, set_to("training", "learning_rate", value=0.5))


@pytest.mark.parametrize(
    "change",
    [set_to("seed", value=7), set_to("measurement", "target_half_width", value=0.1)],
    ids=["seed", "measurement"],
)
def test_seed_and_way_of_measuring_make_everything_stale(raw, change):
    assert stale(raw, change) == set(expand(parse_config(raw), auto="cpu"))


@pytest.mark.parametrize(
    "change",
    [
        set_to("training", "epochs", value=3),
        set_to("training", "modes", value=["fx"]),
        set_to("profile", "active", value=7),
        set_to("strict", value=True),
        set_to("modes", "new", value={"engine": "eager"}),
        set_to("models", "new", value={"family": "mlp"}),
        set_to("benchmark", 0, "batch_sizes", value=[64, 128]),
        set_to("measurement", value={"time_limit_s": 70.0, "memory_limit_mb": 700}),
    ],
    ids=[
        *("epochs", "trained modes", "profile", "strict", "new mode", "new model", "more cases"),
        "limits",
    ],
)
def test_what_a_case_does_not_depend_on_leaves_it_fresh(raw, change):
    assert stale(raw, change) == set()


def test_a_case_that_cannot_train_is_refused_as_a_block_of_it_would_be(raw):
    config = parse_config(raw)
    training = next(case for case in expand(config, auto="cpu") if case.task == "training")
    check_case(config, replace(training, model="mine"))
    onnx = parse_config(raw | {"modes": raw["modes"] | {"onnx": {"engine": "onnxruntime"}}})
    with pytest.raises(ValueError, match="'onnx' has the engine onnxruntime, which cannot train"):
        check_case(onnx, replace(training, mode="onnx"))


@pytest.mark.parametrize("field", ["model", "mode"])
def test_a_case_of_an_unknown_model_or_mode_is_refused_with_what_there_is(raw, field):
    config = parse_config(raw)
    case = case_from(expand(config, auto="cpu")[0].identity() | {field: "unheard-of"})
    with pytest.raises(ValueError, match=f"no {field} 'unheard-of'; known: .*(eager|mine)"):
        Plan(config, case)
