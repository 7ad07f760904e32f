"""A file that was deleted is made again, whatever it is, by the command that made it."""

from __future__ import annotations

import re
import shutil

import pytest
from workflow.conftest import Workflow

pytestmark = pytest.mark.workflow
PROFILE = "results/profile/training/cpu/house_price/eager/fp32-b256"
DELETED = {
    "results/benchmark/inference/cpu/house_price/fx/fp32-b64.json": "join_runs",
    "results/runs/inference/cpu/house_price/fx/fp32-b64/1.json": "benchmark_case",
    "results/shipped/inference/cpu/house_price/fx/fp32-b64": "benchmark_case",
    "results/training/fx/history.csv": "train_model",
    "results/training/fx/model": "train_model",
    f"{PROFILE}/kernels.csv": "profile_case",
    f"{PROFILE}/internals": "profile_case",
    f"{PROFILE}/memory.svg": "draw_profile",
    "results/tensorboard/training-house_price-eager-fp32-b256/torchmodes.pt.trace.json.gz": (
        "publish_trace"
    ),
    "results/machine/cpu.json": "measure_machine",
    "results/data/statistics.json": "compute_statistics",
    "results/operators/build.json": "build_operators",
    "results/studies/compile_cost.json": "measure_study",
    "results/plots/losses.svg": "draw_plots",
    "results/summary.parquet": "summarize_records",
    "reports/summary.md": "write_report",
}


def test_every_file_of_a_run_is_missed(finished: Workflow) -> None:
    made = [
        path.relative_to(finished.folder)
        for folder in ("results", "reports")
        for path in (finished.folder / folder).rglob("*")
        if path.is_file() and path.name not in ("README.md", ".snakemake_timestamp", ".gitkeep")
    ]
    assert len(made) > 50
    shutil.rmtree(finished.folder / "results")
    printed = finished.smoke("--dry-run").stdout
    (line,) = re.findall(r"^rule all:\n +input: (.*)$", printed, re.MULTILINE)
    wanted = set(line.split(", "))
    unwanted = [
        str(path) for path in made if not wanted.intersection(map(str, [path, *path.parents]))
    ]
    assert not unwanted


@pytest.mark.parametrize("name", DELETED)
def test_what_was_deleted_is_made_again(finished: Workflow, name: str) -> None:
    path = finished.folder / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    planned = finished.planned()
    assert DELETED[name] in planned
    if name.startswith("results/runs"):  # that run alone, and what is made of all
        assert planned.count("benchmark_case") == planned.count("join_runs") == 1
        assert not {"train_model", "profile_case"} & set(planned)
