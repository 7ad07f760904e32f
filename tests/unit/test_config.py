"""The configuration: what is accepted, and how every fault is told."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

from torchmodes.config import config_schema, parse_config
from torchmodes.config.faults import InvalidConfig
from torchmodes.config.layers import only_named
from torchmodes.config.repeated import repeated_keys
from torchmodes.config.run import Config, Grid

ROOT = Path(__file__).parents[2]
CONFIG_FILE = ROOT / "config.yaml"
SMALL = """
seed: 42
data: {source: synthetic}
models:
  house_price: {family: mlp, hidden: [8]}
  mine: {family: user, factory: my/model.py:build, inputs: my/model.py:inputs}
modes:
  eager: {engine: eager}
  inductor: {engine: compile, backend: inductor}
  mine: {engine: user, factory: my/mode.py:prepare}
training: {model: house_price, modes: [eager, inductor]}
benchmark:
  - {task: training, models: [house_price], modes: [eager, inductor], batch_sizes: [64]}
profile: {}
studies: {}
measurement: {}
"""


@pytest.fixture
def raw():
    return yaml.safe_load(SMALL)


def faults_of(raw):
    with pytest.raises(InvalidConfig) as caught:
        parse_config(raw)
    return caught.value.faults


# --- What is accepted ------------------------------------------------------------------------


def test_a_small_configuration_is_completed_with_defaults(raw):
    parsed = parse_config(raw)
    assert parsed.training.batch_size == 2048
    assert parsed.measurement.target_half_width == 0.02
    assert parsed.benchmark[0].precisions == ["fp32"]
    assert parsed.modes["inductor"].scope == "model"


def test_users_may_bring_data_of_their_own(raw):
    raw["data"] = {"source": "mine.csv", "features": ["x", "y", "z"], "target": "w"}
    assert parse_config(raw).data.features == ["x", "y", "z"]


def test_users_may_bring_a_model_and_a_mode_of_their_own(raw):
    block = {"task": "inference", "models": ["mine"], "modes": ["mine"], "batch_sizes": [1, 8]}
    raw["benchmark"].append(block)
    assert parse_config(raw).models["mine"].item == "item"


def test_a_whole_number_is_a_number_of_seconds_too(raw):
    raw["measurement"]["budget_s"] = 3
    assert parse_config(raw).measurement.budget_s == 3.0


@pytest.mark.parametrize("section", ["training", "profile", "studies"])
@pytest.mark.parametrize("way", ["null", "null as text", "left out"])
def test_training_profile_and_studies_can_be_switched_off(raw, section, way):
    raw[section] = "null" if way == "null as text" else None  # --config training=null
    if way == "left out":
        del raw[section]
    parsed = parse_config(raw)
    assert parsed.training.modes == ([] if section == "training" else ["eager", "inductor"])
    assert parsed.profile.cases == []
    if way != "null as text":
        jsonschema.validate(raw, config_schema())


def test_what_trains_nothing_needs_no_model_that_can_be_trained(raw):
    block = {"task": "inference", "models": ["mine"], "modes": ["mine"], "batch_sizes": [1]}
    raw |= {"models": {"mine": raw["models"]["mine"]}, "training": None, "benchmark": [block]}
    assert list(parse_config(raw).models) == ["mine"]
    raw["benchmark"].append(block | {"task": "training", "modes": ["eager"]})
    assert parse_config(raw).models["mine"].train.optimizer == "adam"
    raw["training"] = {"modes": ["eager"]}
    assert faults_of(raw)[0].startswith("training.model: no model of family mlp has the name")


def test_what_runs_has_no_model_or_mode_that_nothing_asks_for(raw):
    raw["training"] = None
    raw["modes"]["spare"] = {"engine": "fx"}
    raw["profile"] = {"diffs": [["eager", "spare"], ["eager", "mine"]]}
    raw["benchmark"] = [
        {"task": "inference", "models": ["mine"], "modes": ["mine"], "batch_sizes": [1]}
    ]
    about = parse_config(raw).about_what_runs()
    assert list(about.models) == ["mine"]
    assert list(about.modes) == ["eager", "mine"]
    assert about.profile.diffs == [["eager", "mine"]]
    assert parse_config(about.model_dump()) == about


# --- What a file with a benchmark leaves out ---------------------------------------------------


OWN = {"benchmark": [{"task": "inference"}]}


def test_a_file_with_a_benchmark_runs_that_alone(raw):
    raw["profile"] = {"cases": [{}], "active": 5}
    raw["studies"] = {"compile_cost": [{}]}
    found = only_named(raw | OWN, [OWN])
    assert found["training"] == {"model": "house_price", "modes": []}
    assert found["profile"] == {"cases": [], "active": 5}
    assert found["studies"] is None
    assert found["benchmark"] == OWN["benchmark"]


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [{"seed": 7}],
        [OWN | {"training": {}, "profile": {}, "studies": {}}],
        [OWN, {"training": {}, "profile": {}, "studies": {}}],
    ],
    ids=["nothing", "no benchmark", "named", "named above"],
)
def test_what_is_named_stays_and_so_does_all_beside_no_benchmark(raw, layers):
    assert only_named(raw, layers) == raw


def test_the_topmost_benchmark_counts(raw):
    below = {"benchmark": [], "training": {}, "profile": {}, "studies": {}}
    assert only_named(raw, [below, OWN])["training"]["modes"] == []
    assert only_named(raw, [OWN, below]) == raw


def test_the_shipped_configurations_name_all_that_they_run():
    for preset in sorted((ROOT / "config").glob("*.yaml")):
        merged = shipped()[preset.name]
        assert only_named(merged, [yaml.safe_load(preset.read_text())]) == merged, preset.name


def test_a_configuration_as_the_page_shows_it_laid_over_config_yaml_runs_the_same():
    from snakemake.utils import update_config

    for name, merged in shipped().items():
        ran = parse_config(merged).about_what_runs().model_dump()
        again = copy.deepcopy(shipped()[CONFIG_FILE.name])
        update_config(again, ran)
        assert parse_config(only_named(again, [ran])).about_what_runs().model_dump() == ran, name


# --- Faults, each with its place and a remedy ------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("day: 2024-01-01", "'2024-01-01' is not text to YAML; put it in quotes"),
        ("deep: [{at: 2024-01-01 10:00:00}]", "'2024-01-01 10:00:00' is not text to YAML"),
        ("some: !!set {a, b}", "is not text to YAML"),
    ],
)
def test_options_hold_what_a_job_can_be_sent(raw, given, told):
    mine = {"family": "user", "factory": "mine.py:build", "inputs": "mine.py:inputs"}
    raw["models"]["mine"] = mine | {"options": yaml.safe_load(given)}
    with pytest.raises(InvalidConfig, match=rf"models.mine.options: .*{told}"):
        parse_config(raw)


def test_a_reference_of_another_form_is_told_by_an_example(raw):
    raw["modes"]["mine"] = {"engine": "user", "factory": "mine.py:Engine.prepare"}
    with pytest.raises(InvalidConfig, match=r"form path/to/file.py:function, of a function or cla"):
        parse_config(raw)


def test_all_faults_are_told_together_with_place_and_suggestion(raw):
    raw["sed"] = 1
    raw["training"]["epochs"] = "forty"
    raw["modes"]["inductor"]["backnd"] = "inductor"
    block = raw["benchmark"][0]
    block |= {"models": ["house_prise"], "modes": ["induktor"]}
    block |= {"precisions": ["fp23"], "devices": ["cuda", "cpuu"]}
    assert sorted(faults_of(raw)) == [
        "benchmark[0].devices[1]: 'cpuu' is not one of auto, cpu, cuda, mps; did you mean 'cpu'?",
        "benchmark[0].models[0]: unknown model 'house_prise'; did you mean 'house_price'?",
        "benchmark[0].modes[0]: unknown mode 'induktor'; did you mean 'inductor'?",
        (
            "benchmark[0].precisions[0]: 'fp23' is not one of fp32, tf32, bf16, fp16, int8, int4,"
            " fp8;"
            " did you mean 'fp32'?"
        ),
        "modes.inductor.backnd: unknown key; did you mean 'backend'?",
        "sed: unknown key; did you mean 'seed'?",
        "training.epochs: should be a valid integer (found 'forty')",
    ]


def test_a_name_that_cannot_be_one_is_told_with_what_is_allowed(raw):
    for name in ("x" * 65, "my model", True, 7):
        raw["modes"][name] = {"engine": "fx"}
    assert faults_of(raw) == [
        f"modes: the name '{'x' * 65}' has 65 characters; at most 64 are allowed",
        (
            "modes: the name 'my model' may have letters, digits, '.', '_' and '-', and begins"
            " with a letter or digit"
        ),
        "modes: the name True is not text to YAML; put it in quotes",
        "modes: the name 7 is not text to YAML; put it in quotes",
    ]


def test_what_yaml_reads_as_no_text_is_told_wherever_a_name_stands(raw):
    raw["models"][date(2024, 1, 1)] = {"family": "mlp"}
    raw["benchmark"][0]["modes"] = ["eager", False, "indcutor"]
    raw["profile"] = {"diffs": [["eager", False]]}
    raw["modes"][False] = {"engine": "eager"}
    raw[1] = {}
    assert sorted(faults_of(raw)) == [
        "benchmark[0].modes[1]: False is not text to YAML; put it in quotes",
        "benchmark[0].modes[2]: unknown mode 'indcutor'; did you mean 'inductor'?",
        "config: the key 1 is not text to YAML; put it in quotes",
        "models: the name '2024-01-01' is not text to YAML; put it in quotes",
        "modes: the name False is not text to YAML; put it in quotes",
        "profile.diffs[0][1]: False is not text to YAML; put it in quotes",
    ]


def test_a_seed_is_what_pytorch_takes_and_a_table_what_snakemake_can_name(raw):
    raw["seed"] = 2**63
    raw["data"] = {"source": "{m}.csv"}
    assert faults_of(raw) == [
        f"seed: should be less than or equal to {2**63 - 1} (found {2**63})",
        "data.source: '{m}.csv' has braces, which Snakemake takes for wildcards; rename it",
    ]
    raw["seed"], raw["data"] = 2**63 - 1, {}
    assert parse_config(raw).seed == 2**63 - 1


def test_the_longest_name_is_accepted(raw):
    raw["modes"]["x" * 64] = {"engine": "fx"}
    assert parse_config(raw)


def test_upper_and_lower_case_do_not_hide_what_was_meant(raw):
    raw["benchmark"][0]["modes"] = ["EAGER", "Inductor"]
    assert faults_of(raw) == [
        "benchmark[0].modes[0]: unknown mode 'EAGER'; did you mean 'eager'?",
        "benchmark[0].modes[1]: unknown mode 'Inductor'; did you mean 'inductor'?",
    ]


def test_the_message_counts_the_mistakes_and_lists_each(raw):
    raw["sed"], raw["strict"] = 1, "perhaps"
    with pytest.raises(InvalidConfig, match=r"has 2 mistakes:\n  .*\n  .*\n") as caught:
        parse_config(raw)
    for fault in caught.value.faults:
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("seed", -1, "seed: should be greater than or equal to 0 (found -1)"),
        ("seed", "seven", "seed: should be a valid integer (found 'seven')"),
        ("strict", "perhaps", "strict: should be a valid boolean (found 'perhaps')"),
        ("training.epochs", True, "training.epochs: should be a valid integer (found True)"),
        ("training.epochs", 0, "training.epochs: should be greater than or equal to 1 (found 0)"),
        ("measurement.budget_s", float("inf"), "measurement.budget_s: should be a finite number"),
        ("measurement.budget_s", float("nan"), "measurement.budget_s: should be"),
        (
            "measurement.start",
            "spawn",
            "measurement.start: 'spawn' is not one of auto",
        ),
        ("models.house_price.hidden", [8, 0], "models.house_price.hidden[1]: should be greater"),
        ("models.house_price.family", "mpl", "models.house_price.family: 'mpl' is not one of"),
        ("models.mine.factory", "model.py", "models.mine.factory: 'model.py' does not have the"),
        ("modes.inductor.engine", "compil", "modes.inductor.engine: 'compil' is not one of"),
        ("modes.inductor", {}, "modes.inductor: needs the key 'engine'"),
        ("modes", None, "modes: should be a valid dictionary (found None)"),
        ("modes", {"eager": {"engine": "fx"}}, "modes: needs `eager: {engine: eager}`"),
        ("modes.eager.channels_last", True, "modes: needs `eager: {engine: eager}`"),
        (
            "modes.inductor",
            {"engine": "fx", "passes": ["custom-operators", "fuse-conv-bm"]},
            (
                "modes.inductor.passes[1]: 'fuse-conv-bm' is neither a pass nor"
                " path/to/file.py:function; did you mean 'fuse-conv-bn'?"
            ),
        ),
        (
            "modes.inductor",
            {"engine": "fx", "passes": ["mine.py"]},
            (
                "modes.inductor.passes[0]: 'mine.py' is neither a pass nor"
                " path/to/file.py:function; known: fuse-conv-bn, custom-operators"
            ),
        ),
        (
            "modes.inductor.mode",
            "max-autotunee",
            (
                "modes.inductor.mode: 'max-autotunee' is not one of default, reduce-overhead,"
                " max-autotune, max-autotune-no-cudagraphs; did you mean 'max-autotune'?"
            ),
        ),
        ("modes.inductor.engine", "FX", "modes.inductor.engine: 'FX' is not one of"),
        ("training.model", "mine", "training.model: no model of family mlp has the name 'mine'"),
        ("modes.inductor", {"engine": "export"}, "training.modes[1]: 'inductor' cannot train"),
        ("benchmark.0.task", "train", "benchmark[0].task: 'train' is not one of training, infere"),
        ("models.mine.train", {"loss": "mae"}, "models.mine.train.loss: 'mae' is neither a loss"),
        ("models.mine.train", {"optimiser": "sgd"}, "models.mine.train.optimiser: unknown key"),
        ("models.mine.train", {"learning_rate": 0}, "models.mine.train.learning_rate: should be"),
        (
            "models.house_price.train",
            {"accumulate": 2},
            "models.house_price: train: a model of the table takes its targets from it",
        ),
        (
            "studies",
            {
                "dynamic_shapes": [
                    {
                        "task": "training",
                        "models": ["mine"],
                        "modes": ["inductor"],
                        "batch_sizes": [8],
                    }
                ]
            },
            "studies.dynamic_shapes[0].models[0]: 'mine' does not read the table",
        ),
        ("benchmark.0.batch_sizes", [], "benchmark[0].batch_sizes: List should have at least 1"),
        ("benchmark", [], "benchmark: List should have at least 1 item"),
        ("profile.cases", [{}], "profile.cases[0].task: is missing"),
        ("data.target", "Rent", "data: features and target can be chosen only with a CSV file"),
        ("data.rows", 10, "data.rows: should be greater than or equal to 100 (found 10)"),
        ("measurement.min_quads", 1, "measurement.min_quads: should be greater than or equal to 5"),
        (
            "measurement.budget_s",
            600.0,
            "measurement: time_limit_s (600) is less than a run may take: 602 s (budget_s +",
        ),
        ("base", "a{b}/results", "base: 'a{b}/results' has braces, which Snakemake takes for"),
        ("benchmark.0.batch_sizes", [10**30], "benchmark[0].batch_sizes[0]: should be less than"),
        ("data.validation", 0.85, "data: validation + test leave less than 10 %"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_fault_is_told_at_its_place(raw, path, value, fault):
    *sections, key = (int(part) if part.isdigit() else part for part in path.split("."))
    section = raw
    for name in sections:
        section = section[name]
    section[key] = value
    assert any(told.startswith(fault) for told in faults_of(raw)), faults_of(raw)


@pytest.mark.parametrize("path", ["modes.inductor.engine", "models.house_price.family", "modes"])
def test_a_fault_is_told_once_and_not_for_every_use_of_the_name(raw, path):
    *sections, key = path.split(".")
    section = raw
    for name in sections:
        section = section[name]
    section[key] = "misspelt" if sections else None
    told = faults_of(raw)
    assert not [fault for fault in told if fault.startswith(("training.modes", "benchmark["))]


def test_features_and_target_of_a_users_table_are_checked(raw):
    raw["data"] = {"source": "mine.csv", "features": ["x", "y", "x"], "target": "z"}
    assert faults_of(raw) == ["data: features lists x more than once"]
    raw["data"]["features"] = ["x", "z"]
    assert faults_of(raw) == ["data: target 'z' is among the features, too; remove it there"]


def test_an_empty_configuration_names_every_missing_section():
    told = faults_of({})
    for section in ("data", "models", "modes", "benchmark", "measurement"):
        assert f"{section}: is missing" in told


def test_what_is_validated_is_not_changed(raw):
    before = copy.deepcopy(raw)
    parse_config(raw)
    assert raw == before


# --- Numbers that YAML 1.1 takes for text -------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("2.5e1", 25.0),
        (".5e1", 5.0),
        ("5.e0", 5.0),
        ("+1e2", 100.0),
        ("1.0e+2", 100.0),
    ],
)
def test_scientific_notation_is_a_number(raw, written, read):
    raw["training"] |= yaml.safe_load(f"learning_rate: {written}")
    raw["measurement"] |= yaml.safe_load("time_limit_s: 1e3")
    parsed = parse_config(raw)
    assert parsed.training.learning_rate == read
    assert parsed.measurement.time_limit_s == 1000


@pytest.mark.parametrize("written", ["1e4", "1.0e+4", "10000", "10000.0", "'1e4'"])
def test_a_whole_number_may_be_written_in_any_way_where_one_is_asked_for(raw, written):
    raw["data"] |= yaml.safe_load(f"rows: {written}")
    raw["benchmark"][0] |= yaml.safe_load(f"batch_sizes: [{written}, 8]")
    raw["measurement"] |= yaml.safe_load(f"memory_limit_mb: {written}")
    parsed = parse_config(raw)
    found = [
        parsed.data.rows,
        parsed.benchmark[0].batch_sizes[0],
        parsed.measurement.memory_limit_mb,
    ]
    assert found == [10_000] * 3
    assert {type(number) for number in found} == {int}


@pytest.mark.parametrize(
    ("section", "written", "fault"),
    [
        ("training", "learning_rate: 1e-3x", "should be a valid number (found '1e-3x')"),
        ("training", "learning_rate: e3", "should be a valid number (found 'e3')"),
        ("training", "learning_rate: abc", "should be a valid number (found 'abc')"),
        ("training", "learning_rate: true", "should be a valid number (found True)"),
        ("training", "learning_rate: -1e-3", "should be greater than 0 (found -0.001)"),
        ("training", "learning_rate: 1e999", "should be a finite number (found inf)"),
        ("training", "epochs: 1e-1", "should be a valid integer (found 0.1)"),
        ("training", "epochs: 2.5", "should be a valid integer (found 2.5)"),
        ("measurement", "flush_l2: 1e0", "should be a valid boolean (found 1.0)"),
    ],
)
def test_what_is_no_number_stays_a_fault(raw, section, written, fault):
    raw[section] |= yaml.safe_load(written)
    assert faults_of(raw) == [f"{section}.{written.partition(':')[0]}: {fault}"]


def test_text_stays_text_where_text_is_asked_for(raw):
    raw["models"]["mine"]["item"] = "1e3"
    assert parse_config(raw).models["mine"].item == "1e3"


def test_options_for_code_of_others_have_numbers_at_any_depth(raw):
    raw["models"]["mine"]["options"] = yaml.safe_load(
        "{rate: 1e-3, widths: [1e2, 8], more: {eps: 1e-5}, name: 1e3x, depth: '3'}"
    )
    assert parse_config(raw).models["mine"].options == {
        "rate": 0.001,
        "widths": [100.0, 8],
        "more": {"eps": 1e-5},
        "name": "1e3x",
        "depth": "3",
    }


# --- Keys that stand twice -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "faults"),
    [
        ("seed: 7\n", ["seed: given more than once in FILE, on lines 2 and 17: keep one"]),
        (
            "seed: 7\n'seed': 8\n",
            ["seed: given more than once in FILE, on lines 2, 17 and 18: keep one"],
        ),
        (
            "strict: {a: 1,\n  b: [{c: 1}, {d: 1,\n d: 2}]}\n",
            ["strict.b[1].d: given more than once in FILE, on lines 18 and 19: keep one"],
        ),
        (
            "strict: {1: a,\n '1': b}",
            ["strict.1: given more than once in FILE, on lines 17 and 18"],
        ),
        (
            "x: &x {a: {b: 1, b: 2}}\ny: *x\n",
            ["x.a.b: given more than once in FILE, on lines 17 and 17: keep one"],
        ),
        ("x: &x {a: 1}\ny: {<<: *x, a: 2}\n", []),
        (
            "x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n",
            ["y.<<: given more than once in FILE, on lines 19 and 20: keep one"],
        ),
    ],
    ids=["twice", "thrice", "nested", "as text", "aliased", "overridden", "merged twice"],
)
def test_a_key_that_stands_twice_is_told_with_its_lines(tmp_path, monkeypatch, added, faults):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SMALL + added)
    found = repeated_keys([tmp_path / "mine.yaml"])
    assert len(found) == len(faults)
    for told, fault in zip(found, faults, strict=True):
        assert told.startswith(fault.replace("FILE", "mine.yaml"))


def test_a_key_that_stands_twice_is_told_with_the_other_faults(raw, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{\n\t"seed": 1,\n\t"seed": 2\n}')
    raw["sed"] = 1
    with pytest.raises(InvalidConfig) as caught:
        parse_config(raw, files=[path, path])
    assert caught.value.faults == [
        "sed: unknown key; did you mean 'seed'?",
        f"seed: given more than once in {path}, on lines 2 and 3: keep one",
    ]


def test_an_alias_in_its_own_anchor_is_told(raw):
    raw["models"]["mine"]["options"] = yaml.safe_load("&itself {again: *itself}")
    (fault,) = faults_of(raw)
    assert fault == "config: nested too deeply; does an alias stand in its own anchor?"


def test_json_that_yaml_does_not_know_is_accepted(raw, tmp_path):
    (tmp_path / "mine.json").write_text('{"base": "\x7f"}')
    assert parse_config(raw, files=[tmp_path / "mine.json"])


def test_the_shipped_files_have_no_key_twice():
    assert repeated_keys([CONFIG_FILE, *sorted((ROOT / "config").glob("*.yaml"))]) == []


# --- The files that ship ---------------------------------------------------------------------


def shipped():
    """Return config.yaml and each preset, laid over it the way ``--configfile`` does."""
    from snakemake.utils import update_config

    configs = {CONFIG_FILE.name: yaml.safe_load(CONFIG_FILE.read_text())}
    for preset in sorted((ROOT / "config").glob("*.yaml")):
        merged = copy.deepcopy(configs[CONFIG_FILE.name])
        update_config(merged, yaml.safe_load(preset.read_text()))
        configs[preset.name] = merged
    return configs


def test_the_shipped_configurations_are_valid_by_models_and_by_schema():
    for name, merged in shipped().items():
        assert parse_config(merged), name
        jsonschema.validate(merged, config_schema())


def test_the_schema_refuses_what_the_models_refuse(raw):
    raw["training"]["epoch"] = 3
    with pytest.raises(jsonschema.ValidationError, match="epoch"):
        jsonschema.validate(raw, config_schema())


def test_the_shipped_schema_is_the_one_of_the_models():
    """After a change: ``python -m torchmodes.config > config/schema.json``."""
    printed = subprocess.run(
        [sys.executable, "-m", "torchmodes.config"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    assert (ROOT / "config" / "schema.json").read_bytes() == printed
    assert json.loads(printed) == config_schema()


def test_every_field_is_described_for_editors():
    schema = config_schema()
    places = [schema, *schema["$defs"].values()]
    fields = [(name, field) for place in places for name, field in place["properties"].items()]
    tags = {"engine", "family"}  # they choose among models, each described by itself
    bare = [
        name
        for name, field in fields
        if not field.keys() & {"description", "$ref"} and name not in tags
    ]
    assert not bare


def test_config_yaml_shows_every_setting():
    shown = yaml.safe_load(CONFIG_FILE.read_text())
    assert set(Config.model_fields) == set(shown)
    for section in ("data", "training", "profile", "studies", "measurement"):
        model = Config.model_fields[section].annotation
        assert set(model.model_fields) == set(shown[section]), section
    assert set(Grid.model_fields) == set(shown["benchmark"][0])


def test_config_yaml_explains_every_key_where_it_first_stands():
    lines = CONFIG_FILE.read_text().splitlines()
    fields = {
        name
        for place in [config_schema(), *config_schema()["$defs"].values()]
        for name in place["properties"]
    }
    explained: dict[str, bool] = {}
    for above, line in zip(["", *lines], lines, strict=False):
        if (key := re.match(r"\s*(?:- )?(\w+):", line)) and key[1] in fields:
            explained.setdefault(key[1], "#" in line or above.lstrip().startswith("#"))
    assert [key for key, told in explained.items() if not told] == []


def test_text_from_the_command_line_is_read_where_no_text_can_stand(raw):
    raw["training"]["epochs"] = "7"
    raw["strict"] = "true"
    raw["benchmark"][0]["batch_sizes"] = ["1", "8"]
    config = parse_config(raw)
    assert (config.training.epochs, config.strict) == (7, True)
    assert config.benchmark[0].batch_sizes == [1, 8]
