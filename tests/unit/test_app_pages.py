"""The pages of the app without a browser: what they show, and what they say of what is missing."""

from __future__ import annotations

import base64
import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from profile_factory import a_profile
from record_factory import ENVIRONMENT, house_price_records, make_record
from streamlit.testing.v1 import AppTest
from trained_run import write_trained_run

from torchmodes.planning.cases import (
    SUMMARY,
    TABLE_STATISTICS,
    find_records,
    trained_model,
    training_metrics,
)
from torchmodes.prediction.artefacts import find_artefacts
from torchmodes.prediction.columns import in_words
from torchmodes.prediction.predict import predict
from torchmodes.profiling.diff import compare_times
from torchmodes.profiling.reading import read_profile
from torchmodes.report import sentences
from torchmodes.report.loading import load_report_data
from torchmodes.report.style import INK, PALETTE, SURFACE
from torchmodes.report.tables import summary_table
from torchmodes.results.records import write_record
from torchmodes.workloads.training.dataset import load_statistics

ROOT = Path(__file__).parents[2]
PROFILED = "results/profile/training/cpu/house_price/{}/fp32-b2048"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_trained_run(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(trained: Path, here: Path) -> Path:
    """A trained run, to be changed at will."""
    shutil.copytree(trained / "results", here / "results")
    return here


def page(name: str) -> AppTest:
    """Open one page of the app."""
    script = f"from app.views import {name}\n{name}.show()"
    return shown(AppTest.from_string(script, default_timeout=60).run())


def shown(app: AppTest) -> AppTest:
    """Return a page that raised nothing."""
    assert not app.exception, app.exception[0].stack_trace
    return app


def price(app: AppTest) -> str:
    return app.metric[0].value


def test_the_first_page_is_the_answer_and_imports_no_pytorch(here: Path) -> None:
    for record in house_price_records():
        write_record(record, here / record.identity.record)
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(ROOT / "app/main.py")!r}, default_timeout=60).run()
assert not app.exception, app.exception
assert any("| inductor-step | 1.2" in one.value for one in app.markdown)
print("torch" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=here
    )
    assert ran.stdout.strip() == "False", ran.stderr


def test_no_page_imports_pytorch_before_it_asks_a_model(here: Path) -> None:
    """Without a trained model there is nothing to ask, and each page says so without PyTorch."""
    code = """
import sys
from streamlit.testing.v1 import AppTest
for name in ("benchmarks", "predict", "inside", "profiles"):
    script = f"from app.views import {name}; {name}.show()"
    app = AppTest.from_string(script, default_timeout=60).run()
    assert not app.exception, app.exception
    assert [one.value for one in app.code] == ["make"]
    assert "torch" not in sys.modules, name
print("done")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.stdout.strip() == "done", ran.stderr


def test_a_price_has_its_error_and_below_zero_a_warning(run: Path) -> None:
    app = page("predict")
    rmse = json.loads(Path("results/training/eager/metrics.json").read_text())["rmse"]
    assert price(app).startswith("$")
    assert "." not in price(app), "no cents"
    assert any(f"± ${rmse:,.0f}" in one.value.replace("\\", "") for one in app.caption)
    assert not app.warning
    app.number_input[0].set_value(-1e7)
    shown(app.run())
    assert price(app).startswith("-$")
    assert any("No price is below zero" in one.value for one in app.warning)


def test_the_price_of_the_mean_row_is_its_models(run: Path) -> None:
    app = page("predict")
    statistics = load_statistics(Path(TABLE_STATISTICS))
    assert [one.value for one in app.number_input] == pytest.approx(
        [column.mean for column in statistics.features], rel=5e-3
    )
    values = [one.value for one in app.number_input]
    said = predict(find_artefacts("eager")[0], statistics, values)
    assert price(app) == in_words(statistics.target, said.value)
    assert any("weights.pt, loaded into the MLP" in one.value for one in app.caption)
    assert not app.warning


@pytest.mark.parametrize("mode", ["fx", "torchscript"])
def test_what_is_typed_is_what_the_chosen_model_is_asked(run: Path, mode: str) -> None:
    app = page("predict")
    app.selectbox(key="mode").set_value(mode)
    app.number_input[0].set_value(70_123.0)
    app.number_input[3].set_value(4.25)
    shown(app.run())
    values = [one.value for one in app.number_input]
    assert values[0] == 70_123.0
    statistics = load_statistics(Path(TABLE_STATISTICS))
    said = predict(find_artefacts(mode)[0], statistics, values)
    assert price(app) == in_words(statistics.target, said.value)
    table = app.dataframe[0].value.set_index("Mode")
    assert in_words(statistics.target, table.loc[mode, "Price"]) == price(app)
    assert set(table.index) == {"eager", "fx", "torchscript"}


def test_of_two_artefacts_the_reader_chooses(run: Path) -> None:
    app = page("predict")
    app.selectbox(key="mode").set_value("torchscript")
    shown(app.run())
    assert app.selectbox(key="artefact").options == ["model.pt", "weights.pt"]
    assert any("TorchScript archive" in one.value for one in app.caption)
    app.selectbox(key="artefact").select_index(1)
    shown(app.run())
    assert any("weights.pt, loaded" in one.value for one in app.caption)


def test_an_archive_of_somebody_else_runs_only_after_a_click_that_names_the_risk(
    run: Path,
) -> None:
    (run / training_metrics("torchscript")).write_text('{"status": "ok"}')  # as it was sent
    app = page("predict")
    table = app.dataframe[0].value.set_index("Mode")
    assert "weights.pt" in table.loc["torchscript", "Answered by"]
    app.selectbox(key="mode").set_value("torchscript")
    shown(app.run())
    assert any("weights.pt, loaded" in one.value for one in app.caption), "weights by default"
    app.selectbox(key="artefact").select_index(0)
    shown(app.run())
    assert not app.metric
    assert "a TorchScript archive runs the program in it" in app.warning[0].value
    app.button[0].click()
    shown(app.run())
    assert price(app).lstrip("-").startswith("$")
    assert any("a TorchScript archive, run" in one.value for one in app.caption)
    assert not app.warning


def test_a_value_outside_the_training_data_is_flagged(run: Path) -> None:
    app = page("predict")
    app.number_input[1].set_value(80.0)
    shown(app.run())
    assert len(app.warning) == 1
    assert "Avg. Area House Age is above every value in the training data" in app.warning[0].value
    assert price(app).lstrip("-").startswith("$")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("predict", "make"),
        ("inside", "make"),
        ("benchmarks", "make"),
        ("profiles", "make"),
    ],
)
def test_without_results_every_page_names_the_command(here: Path, name: str, command: str) -> None:
    assert [one.value for one in page(name).code] == [command]


def test_without_a_model_the_training_is_named(run: Path) -> None:
    shutil.rmtree("results/training")
    app = page("predict")
    assert app.code[0].value == "make"


def test_a_mode_of_the_configuration_that_was_not_trained_is_offered(run: Path) -> None:
    shutil.copy(ROOT / "config.yaml", run)
    app = page("predict")
    app.selectbox(key="mode").set_value("inductor")
    shown(app.run())
    assert "inductor (not trained)" in app.selectbox(key="mode").options
    assert "no model was trained in inductor" in app.error[0].value
    assert app.code[0].value == "snakemake --cores 4 results/training/inductor/metrics.json"
    assert len(app.dataframe[0].value) == 3, "the other modes still answer"


@pytest.mark.parametrize("broken", ["model/model.pt", "model/weights.pt"])
def test_a_broken_model_is_named_and_the_others_answer(run: Path, broken: str) -> None:
    (run / "results/training/torchscript" / broken).write_bytes(b"broken")
    app = page("predict")
    assert price(app).startswith("$")
    app.selectbox(key="mode").set_value("torchscript")
    shown(app.run())
    app.selectbox(key="artefact").select_index(0 if broken.endswith("model.pt") else 1)
    shown(app.run())
    # A broken archive is no more what was made here, and so nothing that is loaded to find out.
    said = app.warning if broken.endswith("model.pt") else app.error
    assert f"torchscript/{broken}" in said[0].value
    assert app.code[0].value == (
        "snakemake --cores 4 --force results/training/torchscript/metrics.json"
    )
    assert {"eager", "fx"} <= set(app.dataframe[0].value["Mode"])


def test_corrupt_statistics_are_named(run: Path) -> None:
    Path(TABLE_STATISTICS).write_text("{")
    for name in ("predict", "inside"):
        app = page(name)
        assert "results/data/statistics.json" in app.error[0].value


def test_the_inside_shows_row_weights_layers_and_the_graph_a_mode_wrote(run: Path) -> None:
    app = page("inside")
    row, parameters, _, layers = (one.value for one in app.dataframe[:4])
    assert row["What the model is given"].abs().max() < 1e-2, "the mean row"
    assert parameters["parameter"].tolist()[0] == "layers.0.weight"
    assert layers["class"].tolist() == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert any("wrote no graph" in one.value for one in app.info)
    app.selectbox(key="mode").set_value("fx")
    shown(app.run())
    graph, code = (one.value for one in app.code[:2])
    assert "call_module" in graph
    assert "def forward" in code


def test_a_value_typed_on_one_page_is_there_on_the_next(run: Path) -> None:
    app = AppTest.from_string(
        "import streamlit as st\n"
        "from app.views import inside, predict\n"
        "(inside if st.checkbox('other') else predict).show()",
        default_timeout=60,
    )
    shown(app.run())
    app.number_input[0].set_value(50_000.0)
    shown(app.run())
    app.checkbox[0].check()
    shown(app.run())
    assert app.number_input[0].value == 50_000.0
    assert app.dataframe[0].value["Value"].tolist()[0] == "50,000"


@pytest.fixture
def measured(here: Path) -> Path:
    """Records of a finished run, and its summary."""
    case = "inference/cpu/other/{}/fp32-b8"
    records = [
        *house_price_records(),
        make_record(case.format("eager")),
        make_record(case.format("fx"), status="wrong"),
        make_record(case.format("torchscript"), status="failed"),
    ]
    for record in records:
        write_record(record, here / record.identity.record)
    summary_table(records).to_csv(SUMMARY, index=False)
    return here


def results_of(app: AppTest) -> dict[tuple[str, str], str]:
    table = app.dataframe[0].value
    return {(row["Model"], row["Mode"]): row["Result"] for _, row in table.iterrows()}


def test_the_comparison_has_the_reports_verdicts_and_words(measured: Path) -> None:
    app = page("benchmarks")
    data = load_report_data(find_records())
    found = results_of(app)
    assert len(found) == len(data.cases) == 9
    for judged in data.cases:
        assert sentences.verdict(judged) in found[judged.case.model, judged.name]
    recommendation = [one.value for one in app.markdown]
    assert any(one.startswith("**Ship inductor-step.**") for one in recommendation)
    wrong = app.dataframe[0].value.set_index("Result").loc["wrong"]
    assert wrong[["Speed-up", "Low", "High", "Latency, ms"]].isna().all(), "nothing is published"


def test_the_comparison_is_filtered_and_its_verdicts_stay(measured: Path) -> None:
    before = results_of(page("benchmarks"))
    app = page("benchmarks")
    app.multiselect(key="filter model").set_value(["house_price"])
    app.multiselect(key="filter mode").set_value(["inductor", "fx"])
    shown(app.run())
    table = app.dataframe[0].value
    assert sorted(table["Mode"]) == ["fx", "inductor"]
    for mode, result in zip(table["Mode"], table["Result"], strict=True):
        assert before["house_price", mode] == result
    app.multiselect(key="filter result").set_value(["failed"])
    shown(app.run())
    assert any("No case is left" in one.value for one in app.info)


def test_every_figure_of_the_report_is_drawn(measured: Path) -> None:
    for case in ("inference/cpu/third/{}/fp32-b8", "inference/cpu/other/{}/fp32-b1"):
        for mode, speed_up in (("eager", 1.0), ("fx", 1.4)):
            record = make_record(case.format(mode), speed_up=speed_up)
            write_record(record, measured / record.identity.record)
    Path(SUMMARY).unlink()
    app = page("benchmarks")
    (control,) = app.get("button_group")
    assert "Modes by models" in control.options
    for name in ("speed_up", "heat_map", "batches", "trade_off", "latency", "cost", "break_even"):
        app.session_state["figure"] = name
        shown(app.run())
        drawn = app.get("image")
        assert drawn, name
        assert "var(--" not in picture(drawn[0].value[0]), "colours of a page, not of a picture"


def picture(url: str) -> str:
    """Return the text of an image that Streamlit was given as SVG."""
    return base64.b64decode(url.partition("base64,")[2]).decode()


def test_a_corrupt_record_is_named_and_the_others_are_shown(measured: Path) -> None:
    broken = Path("results/benchmark/training/cpu/house_price/fx/fp32-b2048.json")
    broken.write_text(broken.read_text()[:400])
    app = page("benchmarks")
    assert [str(broken) in one.value for one in app.error] == [True]
    assert app.code[0].value == f"rm {broken} && snakemake --cores 4 {broken}"
    assert len(results_of(app)) == 8


def test_a_record_beside_the_last_report_is_asked_for(measured: Path) -> None:
    extra = make_record("training/cpu/house_price/export/fp32-b2048", speed_up=1.5)
    write_record(extra, measured / extra.identity.record)
    app = page("benchmarks")
    assert len(results_of(app)) == 9
    app.toggle[0].set_value(True)
    shown(app.run())
    assert len(results_of(app)) == 10


def test_a_corrupt_summary_is_named(measured: Path) -> None:
    Path(SUMMARY).write_text("nothing\n1\n")
    app = page("benchmarks")
    assert SUMMARY in app.error[0].value
    assert len(results_of(app)) == 9


LEAN = 0.5
"""Share of an operator's time in the full recording that the lean one shows."""


def write_profile(
    mode: str,
    operators: dict[str, tuple[float, float]],
    *,
    status: str = "ok",
    reason: str = "no compiler",
):
    folder = Path(PROFILED.format(mode))
    folder.mkdir(parents=True)
    told = {"status": status, "reason": None if status == "ok" else reason}
    told |= {"profiled_step_s": 0.012, "unprofiled_step_s": 0.01}
    (folder / "summary.json").write_text(json.dumps(told))
    with (folder / "operators.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["operator", "calls", "self_cpu_s", "lean_self_s", "self_device_s"])
        for name, (calls, seconds) in operators.items():
            writer.writerow([name, calls, seconds, LEAN * seconds, 0.0])


@pytest.fixture
def profiled(here: Path) -> Path:
    write_profile("eager", {"aten::mm": (5, 0.006), "aten::add": (8, 0.001)})
    write_profile("inductor", {"aten::mm": (5, 0.0055), "Compiled": (2, 0.003)})
    write_profile("fx", {}, status="unsupported")
    return here


def test_a_profile_shows_its_operators_and_what_profiling_cost(profiled: Path) -> None:
    app = page("profiles")
    app.selectbox(key="profile").select_index(0)
    shown(app.run())
    table = app.dataframe[0].value
    assert table["operator"].tolist() == ["aten::mm", "aten::add"]
    assert table["self cpu, ms"].tolist() == pytest.approx([6.0, 1.0])
    assert "self device, ms" not in table.columns, "a CPU has no device beside it"
    assert any("1.20 times as long" in one.value for one in app.markdown)


def test_layers_and_memory_are_drawn_with_units(
    profiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.views.profiles.read_profile", lambda _: a_profile())
    app = page("profiles")
    drawn = [picture(one.value[0]) for one in app.get("image")]
    assert len(drawn) == 2
    assert any("Conv2d" in svg and "share of 100" in svg for svg in drawn), "an icicle"
    assert any("resident memory" in svg and "MB" in svg for svg in drawn)


def test_two_profiles_are_compared_by_operator(profiled: Path) -> None:
    app = page("profiles")
    app.selectbox(key="profile").select_index(0)
    app.selectbox(key="other profile").select_index(2)
    shown(app.run())
    table = app.dataframe[0].value.set_index("operator")
    assert table.index.tolist() == ["Compiled", "aten::add", "aten::mm"]
    assert table["difference, ms"].tolist() == pytest.approx([LEAN * 3.0, -LEAN, -LEAN * 0.5])
    assert table.loc["Compiled", "eager, ms"] == 0
    assert any("**inductor** take 750" in one.value for one in app.markdown)


def test_a_profile_without_operators_is_not_called_faster(profiled: Path) -> None:
    app = page("profiles")
    app.selectbox(key="profile").select_index(0)
    app.selectbox(key="other profile").select_index(1)
    shown(app.run())
    assert any("nothing to compare" in one.value for one in app.info)
    assert not any("take" in one.value for one in app.markdown)


def test_spans_of_python_and_waiting_for_a_gpu_are_no_operators_time(here: Path) -> None:
    write_profile("eager", {"aten::mm": (5, 0.006), "model_inference": (1, 0.050)})
    one = read_profile(Path(PROFILED.format("eager")))
    assert compare_times(one, one)["name"].tolist() == ["aten::mm"]


def test_the_difference_of_a_profile_to_itself_is_zero(profiled: Path) -> None:
    one = read_profile(Path(PROFILED.format("eager")))
    assert compare_times(one, one)["gained_s"].tolist() == [0.0, 0.0]


def test_a_case_that_was_not_profiled_says_why(profiled: Path) -> None:
    app = page("profiles")
    app.selectbox(key="profile").select_index(1)
    shown(app.run())
    assert any("Not profiled: unsupported. no compiler" in one.value for one in app.markdown)


def test_what_was_not_profiled_differs_by_all_of_the_other(profiled: Path) -> None:
    sides = [read_profile(Path(PROFILED.format(mode))) for mode in ("eager", "fx")]
    assert compare_times(*sides)["gained_s"].tolist() == pytest.approx([LEAN * 0.006, LEAN * 0.001])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b"\xff{"),
        ("operators.csv", b"\xff{"),
        ("operators.csv", b"operator,self_cpu_s\naten::mm,fast\n"),
        ("kernels.csv", b""),
    ],
)
def test_a_corrupt_profile_is_named_and_the_rest_is_shown(
    profiled: Path, name: str, content: bytes
) -> None:
    (profiled / PROFILED.format("eager") / name).write_bytes(content)
    app = page("profiles")
    app.selectbox(key="profile").select_index(0)
    shown(app.run())
    assert [f"{PROFILED.format('eager')}/{name}" in one.value for one in app.error] == [True]
    assert app.code[0].value.startswith("snakemake --cores 4 --force results/profile/")
    assert len(app.dataframe) == (0 if name == "operators.csv" else 1)


def test_whatever_else_a_profile_holds_is_shown(profiled: Path) -> None:
    folder = profiled / PROFILED.format("eager")
    (folder / "layers.csv").write_text(
        "layer,kind,order,total_s,self_s\nlayers.0,Linear,0,0.004,0.004\n"
    )
    parts = {"operator": 0.008, "other": 0.002, "kernel": 0.0}
    (folder / "overview.json").write_text(json.dumps({"parts": parts}))
    (folder / "internals").mkdir()
    (folder / "internals/output_code.py").write_text("def call(args): ...")
    (folder / "internals/cuda_memory.pickle").write_bytes(b"\x80")
    app = page("profiles")
    app.selectbox(key="profile").select_index(0)
    shown(app.run())
    assert [tab.label for tab in app.tabs] == ["Operators", "Layers", "What the mode made"]
    assert app.dataframe[1].value["self, ms"].tolist() == [4.0]
    assert app.selectbox(key="text").options == ["output_code.py"]
    assert "def call" in app.code[0].value
    assert read_profile(Path(PROFILED.format("eager"))).parts == {
        "operator": 0.008,
        "other": 0.002,
    }


LIVE = "![x](http://evil.example/a.png) :smile: $x^2$ https://evil.example"


def obeyed(app: AppTest) -> list[str]:
    """Return what the page would read as an image, a link, an emoji or a formula."""
    texts = [
        text
        for kind in ("markdown", "caption", "error", "info", "warning", "metric", "number_input")
        for one in app.get(kind)
        for text in (one.value, getattr(one, "label", ""), getattr(one, "help", ""))
        if isinstance(text, str)
    ]
    plain = [re.sub("`[^`]*`", "", text) for text in [*texts, *(tab.label for tab in app.tabs)]]
    return [text for text in plain if re.search(r"(?<!\\)\]\(|:smile:|(?<!\\)\$|://", text)]


def test_what_files_say_is_shown_and_not_obeyed(run: Path) -> None:
    environment = copy.deepcopy(ENVIRONMENT) | {"machine": {"host": LIVE}}
    for mode, status in (("eager", "ok"), ("fx", "failed")):
        record = make_record(
            f"inference/cpu/other/{mode}/fp32-b8",
            status=status,
            reason=LIVE,
            remedy=LIVE,
            warnings=[LIVE],
            environment=environment,
        )
        write_record(record, Path(record.identity.record))
    broken = Path("results/benchmark/inference/cpu/other") / "![x](http:" / "fp32-b8.json"
    broken.parent.mkdir()
    broken.write_text("{}")
    described = json.loads(Path(TABLE_STATISTICS).read_text())
    described["features"][0] |= {"name": LIVE, "unit": LIVE}
    described["target"] |= {"name": LIVE, "unit": LIVE}
    Path(TABLE_STATISTICS).write_text(json.dumps(described))
    shutil.rmtree(trained_model("fx"))
    told = {"mode": "fx", "status": "failed", "reason": LIVE, "remedy": LIVE}
    Path(training_metrics("fx")).write_text(json.dumps(told))
    write_profile("eager", {LIVE: (1, 0.1)}, status="failed", reason=LIVE)
    (Path(PROFILED.format("eager")) / "![x](http:.csv").write_text("a\n1\n")
    for name in ("benchmarks", "inside", "predict", "profiles"):
        assert obeyed(page(name)) == [], name
    assert any(r"!\[x\](http:" in one.value for one in page("benchmarks").error)


def test_a_failed_training_gives_its_reason(run: Path) -> None:
    shutil.rmtree(trained_model("fx"))
    told = {"mode": "fx", "status": "failed", "reason": "out of memory", "remedy": "see the log"}
    Path(training_metrics("fx")).write_text(json.dumps(told))
    app = page("predict")
    assert "Training in fx is failed: out of memory" in app.error[0].value
    assert app.code[0].value == "see the log"


def test_streamlit_is_configured_to_be_quiet_and_in_the_reports_colours() -> None:
    config = tomllib.loads((ROOT / "app/.streamlit/config.toml").read_text())
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["headless"] is True
    assert config["server"]["address"] == "localhost"
    theme = config["theme"]
    assert (theme["primaryColor"], theme["textColor"]) == (PALETTE["blue"], INK)
    assert theme["backgroundColor"] == SURFACE
