"""A forked child and a fresh interpreter measure the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine import KNOWN_WORK, known_work_job
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.report.data import make_report_data
from torchmodes.report.problems import problems
from torchmodes.report.unresolved import unresolved
from torchmodes.results.records import Record

pytestmark = pytest.mark.workflow


def measure(mode: dict[str, Any], start: str, log: Path) -> Record:
    name = "eager" if mode["engine"] == "eager" else "slowed"
    job = known_work_job(mode, name=name, seed=3, budget_s=2.0, threads=1, start=start)
    record = benchmark_case(job, log=log)
    assert record.status == "ok", record.in_brief()
    assert record.run.start_method == start
    return record


@pytest.mark.skipif(sys.platform != "linux", reason="the fork server exists on Linux only")
def test_both_ways_see_the_same_and_take_the_same_memory(tmp_path: Path) -> None:
    """Half as much work again is slower. A busy machine may hide that, and is said to.

    What verdicts follow from which samples is tested on stored ones.
    """
    slowed = {
        "engine": "user",
        "factory": f"{KNOWN_WORK}:apply_more",
        "options": {"percent": 50},
    }
    records = {}
    for start in ("fork", "fresh"):
        aa = measure({"engine": "eager"}, start, tmp_path / "log")
        records[start] = measure(slowed, start, tmp_path / "log")
        assert records[start].verdict in ("slower", "unresolved"), records[start].in_brief()
        data = make_report_data([aa, records[start]])
        told = {one.case: one.reason for one in problems(data)}
        told |= {str(one.case.case): one.meaning for one in unresolved(data)}
        if records[start].verdict == "unresolved":
            assert told[str(records[start].identity)]
    peaks = {start: r.cost.peak_host_bytes for start, r in records.items() if r.cost is not None}
    assert abs(peaks["fork"] - peaks["fresh"]) < 50e6, peaks
