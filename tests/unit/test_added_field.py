"""A field of a record is added in two files: where it is declared, and where it is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "torchmodes"
MEASURE_AND_SUMMARISE = """
from pathlib import Path

from job_factory import make_job
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.report.tables import summary_table
from torchmodes.results.records import read_record, write_record

record = benchmark_case(make_job(), log=Path("log"))
assert record.status == "ok", record.in_brief()
write_record(record, Path("record.json"))
print(summary_table([read_record(Path("record.json"))])["warmup_slowest_s"].item())
"""


def add(path: Path, *, after: str, line: str) -> None:
    """Put a line behind the only place where some text ends a line."""
    text = path.read_text(encoding="utf-8")
    assert text.count(after) == 1, f"{path.name} is not as this test knows it"
    path.write_text(text.replace(after, after + line), encoding="utf-8")


def test_a_field_that_is_declared_and_measured_arrives_in_the_summary(tmp_path: Path) -> None:
    package = tmp_path / "torchmodes"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    add(
        package / "results/records.py",
        after='Field(description="whether two adjacent windows agreed before the time was up")\n',
        line="    slowest_s: NotNegative | None = None\n",
    )
    add(
        package / "measure/sampler.py",
        after="warmup = Warmup(calls=len(times[0]), seconds=now() - began, steady=steady",
        line=", slowest_s=max(times[1])",
    )
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE_AND_SUMMARISE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    slowest_s = float(ran.stdout)
    stored = json.loads((tmp_path / "record.json").read_text())["warmup"]
    assert 0 < slowest_s <= stored["seconds"]
    assert slowest_s == stored["slowest_s"]
