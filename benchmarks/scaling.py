"""How planning, summary and report grow with the number of cases.

    make bench-scaling        (shorter: ARGS='--cases 100 1000 --rounds 1')

(a) A dry run of this workflow against dry runs of trivial workflows with as many jobs, three runs
of a case and one that joins them: in one they have outputs and a shell command and nothing else, in
the other what a job of ours has (a script, a log, an environment, parameters, resources, an input
function). Taken in turn, and the median of the rounds' ratios is what counts. (b) Summary, figures
and report of as many synthetic records, by the workflow's own functions. Prints tables and writes
``results/studies/scaling.json``.

Times are processor seconds (user and system) of the process: on a shared machine they hold where
wall time does not. Memory is the high-water mark of its resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BATCHES, MODES = 10, 10

RUNS = 3
"""Of a case, in ``config.yaml``: each is a job, and so is joining them."""

PLAIN = """\
RUNS = range(1, int(config["runs"]) + 1)

rule all:
    input: [f"joined/{case}.json" for case in range(int(config["cases"]))]

for number in RUNS:
    rule:
        name: f"measure_{number}"
        output: f"runs/{{case}}/{number}.json"
        shell: "touch {output}"

rule join:
    input: lambda wildcards: [f"runs/{wildcards.case}/{run}.json" for run in RUNS]
    output: "joined/{case}.json"
    shell: "touch {output}"
"""
ALIKE = """\
RUNS = range(1, int(config["runs"]) + 1)

def first_run(wildcards, number):
    return {"first": f"runs/{wildcards.case}/1.json"} if number > 1 else {}

rule all:
    input: [f"joined/{case}.json" for case in range(int(config["cases"]))]

for number in RUNS:
    rule:
        name: f"measure_{number}"
        input: unpack(lambda wildcards, number=number: first_run(wildcards, number))
        output: f"runs/{{case}}/{number}.json"
        log: f"logs/{{case}}/{number}.log"
        priority: 1000 - number
        conda: lambda wildcards: "environment.yaml"
        threads: 2
        resources: machine=100, mem_mb=6000, runtime=4, gpu=lambda wildcards: None
        params:
            case=lambda wildcards: {"case": wildcards.case},
            limits=lambda wildcards, output: {"time_limit_s": 600.0},
            code=lambda wildcards: "0123456789abcdef",
            software=lambda wildcards: {"torch": "2"},
        script: "job.py"

rule join:
    input: lambda wildcards: [f"runs/{wildcards.case}/{run}.json" for run in RUNS]
    output: "joined/{case}.json"
    log: "logs/{case}.log"
    conda: "environment.yaml"
    params:
        looks=lambda wildcards: 0,
        code="0123456789abcdef",
    script: "job.py"
"""


@dataclass(frozen=True)
class Usage:
    """What a process took: seconds and bytes."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


def run(command: Sequence[str], folder: Path) -> Usage:
    """Run a command to its end and tell what it took.

    Raises
    ------
    RuntimeError
        When it fails, with what it printed last.
    """
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}:\n{said.read()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return Usage(used.ru_utime + used.ru_stime, wall_s, used.ru_maxrss * unit)


def grid(cases: int) -> dict[str, Any]:
    """Return a configuration of so many cases: models × modes × batch sizes, nothing else.

    It goes on top of ``config.yaml``.

    Raises
    ------
    ValueError
        When the number is no multiple of 100.
    """
    if cases % (BATCHES * MODES):
        raise ValueError(f"--cases: {cases} is not a multiple of {BATCHES * MODES}")
    models = [f"mlp-{number}" for number in range(cases // (BATCHES * MODES))]
    modes = [f"compiled-{number}" for number in range(1, MODES)]
    block = {
        "task": "inference",
        "models": models,
        "modes": ["eager", *modes],
        "batch_sizes": [2**power for power in range(BATCHES)],
        "devices": ["cpu"],
    }
    studies = ("inference_context", "batch_scaling", "thread_scaling", "dynamic_shapes")
    return {
        "models": {name: {"family": "mlp", "hidden": [16 + i]} for i, name in enumerate(models)},
        "modes": {name: {"engine": "compile", "backend": "inductor"} for name in modes},
        "training": {"modes": ["eager"]},
        "benchmark": [block],
        "profile": {"cases": []},
        "studies": {name: [] for name in (*studies, "compile_cost")},
    }


# --- (a) planning ----------------------------------------------------------------------------


def plan(cases: int, folder: Path) -> dict[str, Usage]:
    """Dry-run the three workflows once each, one after the other."""
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "4", "--dry-run", "--quiet"]
    for name, text in (("plain", PLAIN), ("alike", ALIKE)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "Snakefile").write_text(text)
        (folder / name / "job.py").write_text("")
        (folder / name / "environment.yaml").write_text("dependencies: []\n")
    (folder / "ours").mkdir(exist_ok=True)
    (folder / "ours" / "grid.json").write_text(json.dumps(grid(cases)))
    ours = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "grid.json"]
    trivial = ["--config", f"cases={cases}", f"runs={RUNS}"]
    return {
        name: run([*snakemake, *arguments], folder / name)
        for name, arguments in (("plain", trivial), ("alike", trivial), ("ours", ours))
    }


def plans(cases: int, *, rounds: int) -> dict[str, Any]:
    """Dry-run in turn; medians, and the medians of the rounds' ratios of processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        taken = [plan(cases, Path(folder)) for _ in range(rounds)]
    median = {
        name: {
            key: statistics.median(getattr(usages[name], key) for usages in taken)
            for key in ("cpu_s", "wall_s", "peak_bytes")
        }
        for name in taken[0]
    }
    ratios = {
        name: statistics.median(usages["ours"].cpu_s / usages[name].cpu_s for usages in taken)
        for name in ("plain", "alike")
    }
    return {"cases": cases, "median": median, "ratio_to": ratios}


# --- (b) summary and report ------------------------------------------------------------------


def write_records(cases: int, folder: Path) -> None:
    """Write synthetic records where the workflow would, 200 blocks each."""
    from tests.record_factory import make_record
    from torchmodes.config.run import Grid
    from torchmodes.planning.cases import expand_grids
    from torchmodes.results.records import Identity, write_record

    shapes = [
        make_record(
            f"inference/cpu/m/{'eager' if number == 0 else 'mode'}/fp32-b1",
            speed_up=1 + 0.05 * number,
            blocks=200,
            seed=number,
        )
        for number in range(8)
    ]
    blocks = [Grid.model_validate(block) for block in grid(cases)["benchmark"]]
    for number, case in enumerate(expand_grids(blocks, auto="cpu")):
        shape = shapes[0] if case.is_baseline else shapes[1 + number % 7]
        record = shape.model_copy(update={"case": Identity(**case.identity())})
        write_record(record, folder / case.record)


def summarize(folder: Path) -> None:
    """Write the summary, as scripts/summarize_records.py does."""
    from torchmodes.report.tables import summary_table, write_summary
    from torchmodes.results.records import read_records

    table = summary_table(read_records(_records(folder), blocks=False))
    write_summary(table, folder / "summary.csv", folder / "summary.parquet")


def draw(folder: Path) -> None:
    """Draw the figures, as scripts/draw_plots.py does."""
    from torchmodes.report.figures import figures_of
    from torchmodes.report.loading import load_report_data
    from torchmodes.report.plots import render, save

    data = load_report_data(_records(folder))
    for entry in figures_of("records", "trainings"):
        save(render(entry, data), folder / f"{entry.name}.svg")


def report(folder: Path) -> None:
    """Write both reports, as scripts/write_report.py does."""
    from torchmodes.report import html, markdown
    from torchmodes.report.loading import load_report_data

    data = load_report_data(_records(folder))
    html.write_report(data, folder / "report.html")
    markdown.write_summary(data, folder / "summary.md")


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob("results/benchmark/**/*.json"))


STAGES = {"summarize": summarize, "draw": draw, "report": report}


def reports(cases: int) -> dict[str, Any]:
    """Run each stage on synthetic records in a process of its own."""
    this = [sys.executable, "-m", "benchmarks.scaling", "--stage"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([*this, "records", name, "--cases", str(cases)], ROOT)
        taken = {stage: asdict(run([*this, stage, name], ROOT)) for stage in STAGES}
        sizes = {
            file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()
        }
        sizes["records"] = sum(file.stat().st_size for file in _records(folder))
    return {"cases": cases, "stages": taken, "bytes": sizes}


# --- together --------------------------------------------------------------------------------


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3, help="of the dry runs")
    parser.add_argument("--only", choices=["plans", "reports"])
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)  # a process of reports()
    options = parser.parse_args()
    if options.stage:
        stage, folder = options.stage
        if stage == "records":
            write_records(options.cases[0], Path(folder))
        else:
            STAGES[stage](Path(folder))
        return
    found: dict[str, Any] = {"plans": [], "reports": []}
    for cases in options.cases:
        if options.only != "reports":
            found["plans"].append(plans(cases, rounds=options.rounds))
            print_plan(found["plans"][-1])
        if options.only != "plans":
            found["reports"].append(reports(cases))
            print_report(found["reports"][-1])
    from torchmodes.machine.environment import describe_environment
    from torchmodes.results.writing import write_atomically

    found["environment"] = describe_environment()
    write_atomically(ROOT / "results/studies/scaling.json", json.dumps(found, indent=1) + "\n")


def print_plan(found: dict[str, Any]) -> None:
    """Print one row a workflow."""
    for name, used in found["median"].items():
        ratio = found["ratio_to"].get(name)
        print(
            f"dry run {found['cases']:>6} {name:<9} {used['cpu_s']:7.1f} s CPU"
            f" {used['peak_bytes'] / 1e6:7.0f} MB"
            + (f"   ours takes {ratio:.2f} times that" if ratio else ""),
            flush=True,
        )


def print_report(found: dict[str, Any]) -> None:
    """Print one row a stage, and what it wrote."""
    for name, used in found["stages"].items():
        print(
            f"{name:<9} {found['cases']:>5} records {used['cpu_s']:7.1f} s CPU"
            f" {used['peak_bytes'] / 1e6:7.0f} MB",
            flush=True,
        )
    print({name: f"{size / 1e6:.1f} MB" for name, size in found["bytes"].items()}, flush=True)


if __name__ == "__main__":
    main()
