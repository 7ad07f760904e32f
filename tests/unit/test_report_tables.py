"""The tidy table, and loading what the report is made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from record_factory import house_price_records, make_record, make_training, write_training

from torchmodes.report.loading import load_report_data
from torchmodes.report.tables import COLUMNS, summary_table, write_summary
from torchmodes.results.records import write_record

CASE = "training/cpu/house_price/{}/fp32-b2048"


def test_one_row_per_case_with_every_figure_of_its_record() -> None:
    records = house_price_records()
    table = summary_table(records).set_index("mode")
    assert len(table) == len(records)
    for record in records:
        row = table.loc[record.case.mode]
        assert record.statistics is not None
        assert record.cost is not None
        assert record.cost.prepare_s is not None
        assert record.cost.first_call_s is not None
        assert row["speed_up"] == record.statistics.speed_up.estimate
        assert row["latency_median_s"] == record.statistics.candidate.median_s
        assert row["cold_s"] == record.cost.prepare_s + record.cost.first_call_s
        assert row["verdict"] == record.verdict


def test_columns_and_their_types_do_not_depend_on_what_is_missing() -> None:
    full = summary_table(house_price_records())
    failed = summary_table([make_record(CASE.format("fx"), status="failed")])
    assert list(failed.columns) == [column.name for column in COLUMNS]
    assert (full.dtypes == failed.dtypes).all()
    assert (full.dtypes == summary_table([]).dtypes).all()
    assert failed.loc[0, "failure_type"] == "RuntimeError"
    assert pd.isna(failed.loc[0, "speed_up"])


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    table = summary_table(house_price_records())
    write_summary(table, tmp_path / "summary.csv", tmp_path / "summary.parquet")
    parquet = pd.read_parquet(tmp_path / "summary.parquet")
    csv = pd.read_csv(tmp_path / "summary.csv")
    assert list(parquet.columns) == list(csv.columns) == list(table.columns)
    assert csv["speed_up"].tolist() == pytest.approx(parquet["speed_up"].tolist(), rel=1e-12)


def test_loading_reads_records_trainings_and_profiles(tmp_path: Path) -> None:
    paths = []
    for record in house_price_records():
        paths.append(tmp_path / record.identity.record)
        write_record(record, paths[-1])
    metrics = write_training(make_training("fx"), tmp_path / "results/training/fx")
    profile = tmp_path / "results/profile" / CASE.format("fx")
    profile.mkdir(parents=True)
    (profile / "trace.json.gz").write_bytes(b"")
    (profile / "operators.csv").write_text("operator,calls,lean_self_s,self_device_s\nmm,3,1,0.0\n")
    (profile / "summary.json").write_text('{"status": "ok", "profiled_step_s": 0.01}')
    data = load_report_data(
        paths, [metrics, metrics.with_name("history.csv")], [*profile.iterdir()], {"seed": 1}
    )
    assert len(data.cases) == 6
    assert [run.mode for run in data.trainings] == ["fx"]
    (found,) = data.profiles
    assert str(found.case) == CASE.format("fx")
    assert [trace.name for trace in found.traces] == ["trace.json.gz"]
    assert list(found.shown("operators").columns) == ["operator", "calls", "lean_self_s"]


def test_making_a_report_imports_no_pytorch() -> None:
    code = """
import sys
import torchmodes.report.comparison.__main__
from torchmodes.report import html, markdown, plots, tables, terminal
print("torch" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout.strip() == "False"
