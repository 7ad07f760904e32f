"""A file that was deleted is made again, whatever it is, by the command that made it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from workflow.conftest import Workflow

pytestmark = pytest.mark.workflow
PROFILE = "results/profile/training/cpu/house_price/eager/fp32-b256"
RUN = "results/runs/inference/cpu/house_price/fx/fp32-b64/1.json"
TRACE = "results/tensorboard/training-house_price-eager-fp32-b256/torchmodes.pt.trace.json.gz"
DELETED = {
    "what all cases need": {
        "results/data/statistics.json": "compute_statistics",
        "results/operators/build.json": "build_operators",
        "results/machine/cpu.json": "measure_machine",
    },
    "what a process left": {
        "results/shipped/inference/cpu/house_price/fx/fp32-b64": "benchmark_case",
        "results/training/fx/history.csv": "train_model",
        "results/training/fx/model": "train_model",
        f"{PROFILE}/kernels.csv": "profile_case",
        f"{PROFILE}/internals": "profile_case",
        "results/studies/compile_cost.json": "measure_study",
    },
    "what is made of that": {
        "results/benchmark/inference/cpu/house_price/fx/fp32-b64.json": "join_runs",
        f"{PROFILE}/memory.svg": "draw_profile",
        TRACE: "publish_trace",
    },
    "what is read": {
        "results/plots/losses.svg": "draw_plots",
        "results/summary.parquet": "summarize_records",
        "reports/summary.md": "write_report",
    },
}
"""Files and the rules that make them. In a group none is made of another: for that it is missed."""
MISSED = re.compile(
    r"^rule (\w+):\n(?:    .*\n)*?    reason: Missing output files: ([^;\n]+)$", re.MULTILINE
)


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


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize("group", DELETED)
def test_what_was_deleted_is_made_again(finished: Workflow, group: str) -> None:
    for name in DELETED[group]:
        delete(finished.folder / name)
    ran = finished.smoke("--dry-run")
    missed = {
        name: rule for rule, names in MISSED.findall(ran.stdout) for name in names.split(", ")
    }
    assert missed == DELETED[group], ran.stdout


def test_of_runs_the_one_that_was_deleted_is_made_again_alone(finished: Workflow) -> None:
    delete(finished.folder / RUN)
    planned = finished.planned()
    assert planned.count("benchmark_case") == planned.count("join_runs") == 1
    assert not {"train_model", "profile_case"} & set(planned)
