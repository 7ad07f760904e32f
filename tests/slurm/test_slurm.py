"""A workflow on a real SLURM whose one node dies while a case is measured on it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from slurm.cluster import Cluster
from workflow.conftest import Workflow, copy_repository

from torchmodes.results.records import Record, read_record

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
SUMMARY = "results/summary.csv"
CASES = {
    "eager": "results/benchmark/inference/cpu/house_price/eager/fp32-b64.json",
    "fx": "results/benchmark/inference/cpu/house_price/fx/fp32-b64.json",
    "gpu": "results/benchmark/inference/cuda/house_price/eager/fp32-b64.json",
}
COMMAND = (
    *("timeout", "--kill-after=20", "1200", sys.executable, "-m", "snakemake", SUMMARY),
    *("--workflow-profile", "profiles/slurm"),
    # What docs/cluster.md has a site without accounting uncomment in the profile.
    *("--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "5"),
    *("--configfile", "config/smoke.yaml", str(Path(__file__).with_name("cases.yaml"))),
)


@dataclass(frozen=True)
class Run:
    """A finished workflow, and what SLURM remembers of its jobs."""

    workflow: Workflow
    jobs: list[dict[str, str]]
    killed: str

    def record(self, case: str) -> Record:
        return read_record(self.workflow.folder / CASES[case])

    def jobs_of(self, case: str) -> list[dict[str, str]]:
        device, mode = CASES[case].split("/")[3], CASES[case].split("/")[5]
        name = f"inference_{device}_house_price_{mode}_fp32_64"
        return [job for job in self.jobs if job["Comment"].endswith(name)]


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    workflow = copy_repository(tmp_path_factory.mktemp("slurm") / "torchmodes")
    output = workflow.folder / "snakemake.out"

    def on_gpu() -> dict[str, str]:
        jobs = [job for job in cluster.jobs("RUNNING") if "_cuda_" in job["Comment"]]
        return jobs[0] if jobs else {}

    def measures() -> bool:
        assert process.poll() is None, output.read_text()
        node = on_gpu().get("NodeList", "")
        commands = [" ".join(p.cmdline()) for p in cluster.processes_of(node)] if node else []
        return any("torchmodes.processes" in command for command in commands)

    with output.open("w") as stream:
        process = subprocess.Popen(
            COMMAND, cwd=workflow.folder, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            cluster.wait(measures, "the case on the GPU is being measured", 400)
            killed = on_gpu()["NodeList"]
            cluster.kill_node(killed)
            assert process.wait() == 0, output.read_text()
        finally:
            process.terminate()
            process.wait()
    return Run(workflow, cluster.jobs(), killed)


def test_every_case_has_a_whole_record_although_a_node_died(run: Run) -> None:
    lost, again = run.jobs_of("gpu")
    assert (lost["JobState"], lost["NodeList"]) == ("NODE_FAIL", run.killed)
    assert again["JobState"] == "COMPLETED"
    assert again["NodeList"] != run.killed
    assert [run.record(case).status for case in CASES] == ["ok", "ok", "unsupported"]
    assert len(pd.read_csv(run.workflow.folder / SUMMARY)) == len(CASES)


def test_only_the_case_on_a_gpu_gets_one(run: Run) -> None:
    wanted = {case: {job.get("TresPerJob") for job in run.jobs_of(case)} for case in CASES}
    assert wanted == {"eager": {None}, "fx": {None}, "gpu": {"gres:gpu:1"}}
    seen = {
        case: run.record(case).environment["variables"].get("CUDA_VISIBLE_DEVICES")
        for case in CASES
    }
    assert seen == {"eager": None, "fx": None, "gpu": "0"}


def test_a_measuring_job_has_its_node_alone(run: Run) -> None:
    """Half a node would do for each of them, so two would fit on one."""
    for node in {job["NodeList"] for job in run.jobs}:
        jobs = sorted((j["StartTime"], j["EndTime"]) for j in run.jobs if j["NodeList"] == node)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(jobs)), jobs


def test_two_nodes_measure_at_once(run: Run) -> None:
    (eager,), (gpu, _) = run.jobs_of("eager"), run.jobs_of("gpu")
    assert eager["NodeList"] != gpu["NodeList"]
    assert max(eager["StartTime"], gpu["StartTime"]) < min(eager["EndTime"], gpu["EndTime"])


def test_a_second_run_has_nothing_to_do(run: Run) -> None:
    again = subprocess.run(
        [*COMMAND, "--dry-run"], cwd=run.workflow.folder, capture_output=True, text=True, check=True
    )
    assert "Nothing to be done" in again.stdout + again.stderr
