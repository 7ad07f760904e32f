"""The app on what a real run left: every mode's model answers, every verdict is the report's."""

from __future__ import annotations

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from workflow.conftest import Workflow

from torchmodes.planning.cases import SUMMARY, find_trainings

pytestmark = pytest.mark.workflow


def test_every_trained_mode_answers_and_every_verdict_is_the_reports(
    finished: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    tables = {}
    for page in ("predict", "benchmarks", "inside", "profiles"):
        script = f"from app.views import {page}\n{page}.show()"
        app = AppTest.from_string(script, default_timeout=60).run()
        assert not app.exception, page
        assert not app.error, page
        tables[page] = app.dataframe[0].value
    after = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    assert after == before, "the app writes nothing"
    assert tables["predict"]["Mode"].tolist() == find_trainings()
    reported = pd.read_csv(SUMMARY)
    expected = reported["verdict_holm"].fillna(reported["status"])
    assert len(tables["benchmarks"]) == len(expected)
    for said, verdict in zip(tables["benchmarks"]["Result"], expected, strict=True):
        assert verdict in said or said in ("no effect", "noise check")
