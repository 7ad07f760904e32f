"""A run of thousands of cases: the page stays readable and the summary stays complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_factory import make_record

from torchmodes.report import data as report_data
from torchmodes.report import loading
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.figures import figure_named
from torchmodes.report.html import render_report
from torchmodes.report.loading import load_report_data
from torchmodes.report.markdown import render_summary
from torchmodes.report.plots import render
from torchmodes.report.tables import summary_table
from torchmodes.results.records import Record, read_records, write_record

MODELS, MODES, BATCHES = ("alpha", "beta", "gamma"), ("eager", "fx"), (1, 2, 4)


@pytest.fixture
def records() -> list[Record]:
    return [
        make_record(f"inference/cpu/{model}/{mode}/fp32-b{batch}", blocks=12, seed=batch)
        for model in MODELS
        for mode in MODES
        for batch in BATCHES
    ]


@pytest.fixture
def many(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> ReportData:
    """18 cases of three models, where 13 may be shown."""
    monkeypatch.setattr(report_data, "CASES_SHOWN", 13)
    return make_report_data(records)


def test_an_excerpt_holds_whole_models_and_a_small_run_is_its_own(
    many: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {judged.case.model for judged in many.excerpt().cases} == {"alpha", "beta"}
    assert len(many.excerpt().cases) == 12
    monkeypatch.setattr(report_data, "CASES_SHOWN", 18)
    assert many.excerpt() is many


def test_a_model_that_is_too_large_itself_is_cut(
    many: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_data, "CASES_SHOWN", 4)
    assert len(many.excerpt().cases) == 4


def test_the_page_answers_for_every_model_and_says_what_it_leaves_out(many: ReportData) -> None:
    page = render_report(many)
    assert "18 cases" in page
    assert "shows 12 of them" in page
    ship, _, rest = page.partition('<section id="compare"')
    compare = rest.partition('<section id="right"')[0]
    assert "gamma" in ship
    assert "gamma" not in compare
    assert page.count("12 of 18 cases") == 0, "a figure of a part of the excerpt shows all of it"


def test_the_markdown_summary_says_what_it_leaves_out(many: ReportData) -> None:
    text = render_summary(many)
    assert "Shown are 12 of them" in text
    answers, _, cases = text.partition("## All cases")
    assert "gamma" in answers.partition("\n## ")[0], "every model has its answer"
    assert "gamma" not in cases.partition("## What was not measured")[0]


def test_records_without_samples_make_the_same_summary(
    records: list[Record], tmp_path: Path
) -> None:
    for number, record in enumerate(records):
        write_record(record, tmp_path / f"{number}.json")
    files = sorted(tmp_path.iterdir())
    light = read_records(files, blocks=False)
    assert all(record.samples and not record.samples.blocks for record in light)
    assert summary_table(light).equals(summary_table(read_records(files)))


def test_the_figure_of_single_samples_says_why_it_is_empty(records: list[Record]) -> None:
    def without_blocks(record: Record) -> Record:
        assert record.samples is not None
        samples = record.samples.model_copy(update={"blocks": []})
        return record.model_copy(update={"samples": samples})

    def told(records: list[Record]) -> str:
        (text,) = render(figure_named("latency"), make_report_data(records)).texts
        return " ".join(text.get_text().split())

    assert "samples of more than 300 cases are not read" in told([*map(without_blocks, records)])
    assert "no result holds it" in told([])


def test_only_a_run_that_shows_every_case_keeps_the_samples(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, record in enumerate(records):
        write_record(record, tmp_path / f"{number}.json")
    files = sorted(tmp_path.iterdir())
    for most, kept in ((18, True), (17, False)):
        monkeypatch.setattr(loading, "CASES_SHOWN", most)
        loaded = load_report_data(files).records
        assert all(bool(r.samples and r.samples.blocks) is kept for r in loaded)
