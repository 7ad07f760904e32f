"""A table or a batch size with which every training would fail is told before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from torchmodes.config import parse_config
from torchmodes.config.faults import InvalidConfig
from torchmodes.config.run import Config
from torchmodes.workloads.training.check import check_data
from torchmodes.workloads.training.generate import generate_housing, write_housing

ROOT = Path(__file__).parents[2]


def configured(**changes: Any) -> Config:
    """Return a small configuration, whose training blocks all take 64 rows."""
    block = {"task": "training", "models": ["m"], "modes": ["eager"], "batch_sizes": [64]}
    raw: dict[str, Any] = {
        "data": {"source": "synthetic", "rows": 546},
        "models": {"m": {"family": "mlp"}},
        "modes": {"eager": {"engine": "eager"}, "c": {"engine": "compile"}},
        "training": {"model": "m", "modes": ["eager"], "batch_size": 64},
        "benchmark": [block.copy()],
        "profile": {"cases": [block.copy()]},
        "studies": {"compile_cost": [block.copy()]},
        "measurement": {},
    }
    for path, value in changes.items():
        *sections, key = (int(part) if part.isdigit() else part for part in path.split("__"))
        section = raw
        for name in sections:
            section = section[name]
        section[key] = value
    return parse_config(raw)


def faults_of(config: Config) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        check_data(config)
    return caught.value.faults


def test_batches_that_fit_are_no_fault() -> None:
    check_data(configured())
    check_data(configured(training__batch_size=436, benchmark__0__batch_sizes=[1, 436]))


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("training__batch_size", "training.batch_size"),
        ("benchmark__0__batch_sizes", "benchmark[0].batch_sizes[0]"),
        ("profile__cases__0__batch_sizes", "profile.cases[0].batch_sizes[0]"),
        ("studies__compile_cost__0__batch_sizes", "studies.compile_cost[0].batch_sizes[0]"),
    ],
)
def test_a_batch_larger_than_the_training_split_is_told_with_what_fits(
    place: str, told: str
) -> None:
    size = 437 if place.startswith("training") else [437]
    assert faults_of(configured(**{place: size})) == [
        (
            f"{told}: 437 is more than the 436 rows of the training split; use 436 or fewer,"
            " or more data"
        )
    ]


def test_every_batch_that_is_too_large_is_told_at_once() -> None:
    config = configured(training__batch_size=2048, benchmark__0__batch_sizes=[1, 512, 2048])
    assert [fault.partition(":")[0] for fault in faults_of(config)] == [
        "training.batch_size",
        "benchmark[0].batch_sizes[1]",
        "benchmark[0].batch_sizes[2]",
    ]


def test_a_batch_of_inference_may_be_of_any_size() -> None:
    check_data(configured(benchmark__0__task="inference", benchmark__0__batch_sizes=[2048]))


def test_the_rows_of_a_users_table_count(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    write_housing(generate_housing(rows=60, seed=0), path)
    (fault,) = faults_of(configured(data__source=str(path), training__batch_size=49))[:1]
    assert fault.startswith(
        "training.batch_size: 49 is more than the 48 rows of the training split"
    )


def test_a_fault_of_the_training_split_alone_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    table = generate_housing(rows=60, seed=0)
    table["Price"] = 1.0
    table.loc[7, "Price"] = 2.0
    write_housing(table, path)
    told = {}
    for seed in range(10):
        try:
            check_data(configured(data__source=str(path), seed=seed, training__batch_size=8))
        except ValueError as error:
            told[seed] = str(error)
    assert any(
        "column 'Price' is constant over the 48 training rows (every value is 1) and holds no"
        " information; choose another target, or use more rows or another seed" in fault
        for fault in told.values()
    )


def test_a_generated_table_is_checked_without_pandas() -> None:
    """Snakemake starts again for every job."""
    code = """
import sys
import torchmodes.workloads.training.check
assert not {'torch', 'pandas'} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
