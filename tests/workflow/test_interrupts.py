"""A workflow that is stopped leaves no process and no half-written record behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow.conftest import Workflow
from workflow.test_faults import write_config

from torchmodes.results.records import read_record

pytestmark = pytest.mark.workflow
PRINTED = "printed.txt"
HANGING = "results/runs/inference/cpu/house_price/hangs/fp32-b64/1.json"


def start_and_wait_for_the_hang(
    workflow: Workflow, *, time_limit_s: float
) -> subprocess.Popen[bytes]:
    write_config(workflow.folder)
    with (workflow.folder / PRINTED).open("w") as printed:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--cores", "2", HANGING),
                *("--configfile", "config/smoke.yaml", "faults.yaml"),
                *("--config", f'measurement={{"time_limit_s": {time_limit_s}}}'),
            ],
            cwd=workflow.folder,
            env=workflow.environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while not (workflow.folder / "hanging").exists():
        assert time.monotonic() < deadline, "the case never hung"
        assert process.poll() is None, "snakemake ended early"
        time.sleep(0.1)
    assert any("torchmodes.processes" in line for line in workflow.left_over())
    return process


def wait_until_nothing_is_left(workflow: Workflow) -> None:
    deadline = time.monotonic() + 20
    while (remaining := workflow.left_over()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert remaining == []
    assert not list(Path(workflow.folder / "results").rglob(".*.json.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_and_no_record_outlives_the_workflow(
    fresh: Workflow, number: signal.Signals
) -> None:
    process = start_and_wait_for_the_hang(fresh, time_limit_s=500)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does: the whole group
    else:
        process.send_signal(number)
    process.wait(timeout=60)
    wait_until_nothing_is_left(fresh)
    assert not (fresh.folder / HANGING).exists()
    if number is signal.SIGINT:
        printed = (fresh.folder / PRINTED).read_text()
        assert "Traceback" not in printed
        assert "Not every job was done" in printed


def test_on_sigterm_snakemake_lets_the_running_case_end(fresh: Workflow) -> None:
    process = start_and_wait_for_the_hang(fresh, time_limit_s=10)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    wait_until_nothing_is_left(fresh)
    assert read_record(fresh.folder / HANGING).status == "failed"
