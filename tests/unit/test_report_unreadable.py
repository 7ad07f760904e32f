"""Files that are not what they should be: each is named, and everything else stands."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_factory import make_record, make_training, write_training
from rich.console import Console

from torchmodes.planning.cases import SUMMARY, find_records, parse_case
from torchmodes.report.data import ReportData
from torchmodes.report.figures import figure_named, figures_of
from torchmodes.report.figures.losses import trained
from torchmodes.report.html import render_report
from torchmodes.report.loading import load_existing, load_report_data
from torchmodes.report.markdown import render_summary
from torchmodes.report.plots import render
from torchmodes.report.problems import problems
from torchmodes.report.sections import loss_agreement
from torchmodes.report.tables import summary_table, write_summary
from torchmodes.report.terminal import print_summary
from torchmodes.results.records import CorruptFile, read_record, write_record
from torchmodes.results.records import read_whole_records as read_whole
from torchmodes.studies import batch_scaling, inference_context

PLOTS = [entry.name for entry in figures_of("records", "trainings")]
CASE = "inference/cpu/m/{}/fp32-b8"
FAST = parse_case(CASE.format("fx"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the records of a run."""
    monkeypatch.chdir(tmp_path)
    for mode, speed_up in (("eager", 1.0), ("fx", 1.3), ("inductor", 1.5)):
        record = make_record(CASE.format(mode), speed_up=speed_up, blocks=8)
        write_record(record, Path(record.identity.record))
    return tmp_path


def loaded() -> ReportData:
    return load_report_data(find_records())


def printed(data: ReportData) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_summary(data, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def of_newer(text: str) -> str:
    return text.replace('"schema_version": 1', '"schema_version": 2')


def of_another_case(text: str) -> str:
    return text.replace('"mode": "fx"', '"mode": "eager"')


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[:300], "is not a valid record"),
        (of_newer, "was made by a newer torchmodes"),
        (of_another_case, f"is the record of another case, {CASE.format('eager')}"),
    ],
)
def test_the_report_of_all_but_a_bad_record_is_made_and_names_it(
    here: Path, damage: Callable[[str], str], told: str
) -> None:
    path = Path(FAST.record)
    path.write_text(damage(path.read_text()))
    data = loaded()
    assert [judged.case.mode for judged in data.cases] == ["eager", "inductor"]
    (problem,) = (problem for problem in problems(data) if problem.kind == "unreadable")
    assert problem.case == str(FAST)
    assert problem.reason.startswith(f"{path} {told}")
    assert "delete it and run snakemake again" in problem.remedy
    page, summary = render_report(data), render_summary(data)
    for text in (page, summary, printed(data)):
        assert "3 cases: 2 ok, 1 unreadable" in text
        assert "inductor" in text, "the others have their answer"
        assert str(path) in text


def test_the_tidy_table_has_a_row_for_a_case_that_cannot_be_read(here: Path) -> None:
    Path(FAST.record).write_text("{")
    table = summary_table(*read_whole(find_records()))
    write_summary(table, Path(SUMMARY), here / "summary.parquet")
    row = pd.read_csv(SUMMARY).set_index("mode").loc["fx"]
    assert (row["model"], row["batch_size"], row["status"]) == ("m", 8, "unreadable")
    assert row["reason"].startswith(f"{FAST.record} is not a valid record")
    assert math.isnan(row["speed_up"])
    existing = load_existing(find_records(), Path(SUMMARY))
    assert existing.others is None
    assert [one.path for one in existing.broken] == [Path(FAST.record)]


def test_studies_of_records_say_which_they_could_not_read(here: Path) -> None:
    Path(FAST.record).write_text("{")
    records, unreadable = read_whole(find_records())
    modes = {mode: {"context": "grad"} for mode in ("eager", "inductor", "fx")}
    contexts = inference_context.study(records, unreadable, modes)
    assert [case.status for case in contexts.cases] == ["ok", "ok", "unreadable"]
    series = {one.mode: one for one in batch_scaling.study(records, unreadable).series}
    (point,) = series["fx"].points
    assert point.status == "unreadable"
    assert point.reason is not None
    assert point.reason.startswith(FAST.record)


# --- Other results ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("metrics.json", "[]", "cannot be read"),
        ("metrics.json", '{"mode": "fx"}', "cannot be read (status: Field required)"),
        ("metrics.json", '{"mode": "eager", "status": "ok"}', "in another mode, eager"),
        ("metrics.json", '{"mode": "fx", "status": "ok", "rmse": "low"}', "(rmse: should be"),
        ("history.csv", "epoch\n1\n", "has no column train_loss, validation_loss, seconds"),
        ("history.csv", "", "cannot be read as a table"),
        (
            "history.csv",
            "epoch,train_loss,validation_loss,seconds\n1,low,1,1\n",
            "has no numbers in the column train_loss",
        ),
        (
            "history.csv",
            "epoch,train_loss,validation_loss,seconds\n1,1,1,1\n1,1,1,1\n",
            "has two rows of one epoch",
        ),
    ],
)
def test_a_training_that_cannot_be_read_is_named_and_the_others_stand(
    here: Path, name: str, content: str, told: str
) -> None:
    files = [
        write_training(make_training(mode), here / "results/training" / mode)
        for mode in ("eager", "fx")
    ]
    broken = files[1].with_name(name)
    broken.write_text(content)
    data = load_report_data(find_records(), files)
    assert [run.mode for run in data.trainings] == ["eager", "fx"][: 1 + (name == "history.csv")]
    (problem,) = (problem for problem in problems(data) if problem.kind == "unreadable")
    assert problem.reason.startswith(f"{broken} ")
    assert told in problem.reason
    assert str(broken) in " ".join(problem.reason for problem in problems(data))
    assert [run.mode for run in trained(data)] == ["eager"]


def test_a_loss_of_zero_has_no_relative_distance(here: Path) -> None:
    reference, other = make_training("eager"), make_training("fx", offset=1e-6)
    reference.history.loc[[3, 4], "train_loss"] = [0.0, math.inf]
    files = [
        write_training(run, here / "results/training" / run.mode) for run in (reference, other)
    ]
    data = load_report_data([], files)
    assert loss_agreement(data) == (
        "In no epoch is any mode's training loss further than 1.0e-06 (relative) from eager's;"
        " fx comes furthest."
    )
    assert "Loss curves" in render_report(data)


Content = dict[str, Any]
IDENTITY = parse_case(CASE.format("eager")).identity()
START: Content = {"case": IDENTITY, "cold_s": 9.0, "warm_s": 3.0}
SERIES: Content = {
    **{name: IDENTITY[name] for name in ("task", "device", "model", "mode", "precision")},
    "item": "item",
    "points": [{"batch_size": 8, "latency_s": 0.1, "throughput_per_s": 80.0}],
    "knee": None,
}


@pytest.mark.parametrize(
    ("study", "content", "told"),
    [
        ("compile_cost", {}, "cases: Field required"),
        ("compile_cost", {"cases": [START | {"case": {}}]}, "cases.0.case.task: Field required"),
        ("compile_cost", {"cases": [START | {"cold_s": -1}]}, "cases.0.cold_s"),
        ("batch_scaling", {"series": [SERIES | {"knee": 64}]}, "the knee, 64, is no batch size"),
        ("thread_scaling", {"cases": [START | {"status": "ok", "points": [{}]}]}, "points.0.thr"),
        ("dynamic_shapes", {"cases": [START | {"variant": "odd"}]}, "cases.0.variant"),
        ("inference_context", {"cases": "none"}, "cases: should be a valid array"),
        ("unheard_of", {}, "is of no study"),
    ],
)
def test_a_study_that_cannot_be_read_is_named_and_the_others_stand(
    here: Path, study: str, content: Content, told: str
) -> None:
    folder = here / "results/studies"
    folder.mkdir()
    good, bad = folder / "compile_cost.json", folder / "bad" / f"{study}.json"
    bad.parent.mkdir()
    good.write_text(json.dumps({"cases": [START]}))
    bad.write_text(json.dumps(content))
    data = load_report_data(find_records(), studies=[good, bad])
    (problem,) = (problem for problem in problems(data) if problem.kind == "unreadable")
    assert problem.reason.startswith(f"{bad} ")
    assert told in problem.reason
    assert [study.name for study in data.studies] == ["compile_cost"]


# --- Whatever a file holds --------------------------------------------------------------------

WHOLE = json.loads(make_record(CASE.format("fx"), speed_up=1.3, blocks=3).model_dump_json())
ODD = st.sampled_from(
    [
        None,
        True,
        "",
        "x",
        -1,
        0,
        0.5,
        5e-324,
        1e-15,
        1e9,
        1e308,
        2**40,
        2**63,
        10**40,
        [],
        {},
        [[0]],
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Return the text of a record with a few places changed: keys dropped, other types, numbers."""
    content = json.loads(json.dumps(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = content
        while True:
            keys = sorted(node) if isinstance(node, dict) else range(len(node))
            key = draw(st.sampled_from(list(keys)))
            if not isinstance(node[key], dict | list) or not node[key] or draw(st.booleans()):
                break
            node = node[key]
        if draw(st.booleans()):
            node[key] = copy.deepcopy(draw(ODD))  # it may be changed further
        elif isinstance(node[key], float):
            node[key] *= draw(st.sampled_from([-1, 0, 1e-12, 1e-3, 1e3, 1e20]))
        else:
            del node[key]
        if not content:
            break
    return json.dumps(content)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=damaged())
def test_any_file_is_read_as_a_record_or_named(here: Path, text: str) -> None:
    path = Path(FAST.record)
    path.write_text(text)
    try:
        told = f"{path} is the record of {read_record(path).identity}"
    except CorruptFile as error:
        told = str(error)
    assert told.startswith(f"{path} ")


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=damaged())
def test_whatever_a_file_holds_the_report_is_made(here: Path, text: str) -> None:
    Path(FAST.record).write_text(text)
    data = loaded()
    assert len(data.cases) + len(data.unreadable_cases) == 3
    assert "Ship" in render_report(data)
    assert str(FAST) in render_summary(data)
    assert printed(data)
    for name in PLOTS:
        render(figure_named(name), data)
    table = summary_table(*read_whole(find_records()))
    assert "fx" in table["mode"].tolist()
