"""A run that is killed ten times and resumed as docs/resuming.md says ends as if nothing was."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
import psutil
import pytest
from workflow.conftest import MARK, Workflow

from torchmodes.results.records import read_record

pytestmark = pytest.mark.robustness
KILLS = 10
TARGETS = ("reports/summary.md", "results/summary.csv")
CONFIGS = ("--configfile", "config/smoke.yaml", "killed.yaml")
CONFIG = {
    "benchmark": [
        {
            "task": "inference",
            "models": ["house_price"],
            "modes": ["eager", "fx", "torchscript"],
            "batch_sizes": [16, 32, 64],
            "devices": ["cpu"],
        }
    ],
    "training": {"modes": ["eager"]},
    "profile": {"cases": []},
    "studies": {
        study: []
        for study in (
            *("inference_context", "batch_scaling", "thread_scaling"),
            *("dynamic_shapes", "compile_cost"),
        )
    },
}
JOB, MEASURING = ".snakemake/scripts/", "torchmodes.processes"


def processes(workflow: Workflow, part: str) -> list[psutil.Process]:
    """Return the processes of a run whose command line holds a text."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == str(workflow.folder)
            # The shell that Snakemake starts a script in names the script as well.
            if ours and part in " ".join(process.cmdline()) and process.name() != "bash":
                found.append(process)
        except psutil.Error:  # it ended meanwhile, or is not ours to look at
            continue
    return found


def start(workflow: Workflow) -> subprocess.Popen[bytes]:
    """Start the run, or resume it with the same command."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *TARGETS, *CONFIGS],
        cwd=workflow.folder,
        env=workflow.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(condition, *, limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def records(workflow: Workflow) -> dict[Path, tuple[bytes, int]]:
    """Return content and time of every record, the oldest first."""
    files = sorted(
        (workflow.folder / "results/benchmark").rglob("[!.]*.json"),
        key=lambda file: file.stat().st_mtime_ns,
    )
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.timeout(3000)
def test_ten_kills_lose_nothing_repeat_nothing_and_overlap_nothing(fresh: Workflow) -> None:
    (fresh.folder / "killed.yaml").write_text(json.dumps(CONFIG))
    draw = random.Random(20)
    began = time.monotonic()
    planned = fresh.run("--dry-run", *TARGETS, *CONFIGS)
    assert planned.returncode == 0, planned.stdout
    # Random moments from the first job on, up to twice what a start takes here and now: some fall
    # into importing, some into measuring, some between two cases.
    longest_s = 2 * (time.monotonic() - began)
    finished: dict[Path, tuple[bytes, int]] = {}
    killed: list[str] = []
    run = start(fresh)
    while len(killed) < KILLS:
        wait_for(
            lambda run=run: processes(fresh, JOB) or run.poll() is not None,
            limit_s=300,
            what="no job began",
        )
        time.sleep(draw.uniform(0, longest_s))
        if run.poll() is not None:
            assert run.returncode, f"the run ended well after {killed}: too few cases to kill it in"
            run = start(fresh)  # only what depends on a killed job was left
            continue
        jobs = processes(fresh, JOB)
        if jobs and draw.random() < 0.4:
            draw.choice(jobs).send_signal(signal.SIGKILL)
            killed.append("a job")
            continue
        run.send_signal(signal.SIGKILL)
        run.wait()
        killed.append("snakemake")
        wait_for(
            lambda: not processes(fresh, MEASURING),
            limit_s=30,
            what="a case of the killed run is still measured",
        )
        now = records(fresh)
        assert {file: now[file] for file in finished} == finished, "measured again"
        # The newest may have been written a moment before Snakemake could take note of it.
        finished = dict(list(now.items())[:-1])
        unlocked = fresh.run("--unlock", *CONFIGS)
        assert unlocked.returncode == 0, unlocked.stdout
        run = start(fresh)
    if run.wait(timeout=1200):  # a job was killed: the same command again
        run = start(fresh)
    assert run.wait(timeout=1200) == 0
    now = records(fresh)
    assert {file: now[file] for file in finished} == finished, "measured again"
    assert len(now) == 9
    assert {"a job", "snakemake"} == set(killed)
    check_whole(fresh)
    check_alone(fresh)
    assert "Nothing to be done" in fresh.run(*TARGETS, *CONFIGS).stdout


def check_whole(workflow: Workflow) -> None:
    """Read every result to its end."""
    results = workflow.folder / "results"
    for file in results.rglob("*"):
        assert not re.match(r"\..*\.(reserved|\d+)$", file.name), f"{file} was left behind"
        match file.suffix:
            case ".json":
                json.loads(file.read_bytes())
            case ".csv":
                assert file.read_bytes().endswith(b"\n"), file
                assert not pd.read_csv(file).empty
            case ".parquet":
                assert not pd.read_parquet(file).empty
    summary = pd.read_csv(results / "summary.csv")
    assert (summary["status"] == "ok").all()
    assert len(summary) == 9
    assert "torchscript" in (workflow.folder / "reports/summary.md").read_text()


def check_alone(workflow: Workflow) -> None:
    """No case was measured while another was, of whichever start."""
    runs = [read_record(file).run for file in records(workflow)]
    spans = sorted((datetime.fromisoformat(r.started_at), r.finished_at) for r in runs)
    for (_, ended), (began, _) in pairwise(spans):
        assert datetime.fromisoformat(ended) <= began
