"""What Kubernetes would be asked for: every pod's image, volumes, limits, GPU and command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pods.fake_cluster import FakeCluster, Manifest, container, fake_cluster
from workflow.conftest import copy_repository

from torchmodes.results.records import read_record

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
DATA = "results/data/statistics.json"
RECORD = "results/benchmark/inference/{}/house_price/eager/fp32-b64.json"
RUN_HERE = ("prepare_housing:", "compute_statistics:", "device=cpu,")


@dataclass(frozen=True)
class Run:
    """A workflow that ended, the volume of its pods, and the API that was asked for them."""

    cluster: FakeCluster
    volume: Path
    output: str

    def job(self, target: str) -> Manifest:
        """Return the job of a rule or of a device."""
        found = [job for name, job in self.cluster.jobs.items() if target in self.command(name)]
        assert len(found) == 1, self.output
        return found[0]

    def command(self, name: str) -> str:
        return self.cluster.command_of(name).split("--target-jobs")[1].split("--allowed")[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if shutil.which("rsync") is None:
        pytest.skip("the storage plugin copies with rsync, which is not installed")
    folder = tmp_path_factory.mktemp("pods")
    repository, volume = copy_repository(folder / "torchmodes").folder, folder / "volume"
    volume.mkdir()
    for command in (["init", "--quiet"], ["add", "."]):  # the sources sent are those git knows
        subprocess.run(["git", *command], cwd=repository, check=True)

    def runs(command: str) -> bool:
        return any(job in command for job in RUN_HERE)

    with fake_cluster(folder / "cluster", runs=runs) as cluster:
        ran = subprocess.run(
            [
                *("timeout", "--kill-after=20", "800", sys.executable, "-m", "snakemake"),
                *(DATA, RECORD.format("cpu"), RECORD.format("cuda")),
                *("--workflow-profile", "profiles/kubernetes", "--retries", "0"),
                *("--default-storage-prefix", str(volume)),
                *("--kubernetes-persistent-volumes", f"torchmodes:{volume}"),
                *("--seconds-between-status-checks", "1", "--latency-wait", "5"),
                *("--configfile", "config/smoke.yaml"),
            ],
            cwd=repository,
            env=os.environ | {"KUBECONFIG": str(folder / "cluster/kubeconfig")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        outputs = [path.read_text() for path in (folder / "cluster").glob("*.out")]
        return Run(cluster, volume, "\n".join([ran.stdout, *outputs]))


def test_the_commands_of_pods_make_results_on_the_volume_alone(run: Run) -> None:
    assert set(run.cluster.ended.values()) == {"succeeded", "failed"}, run.output
    assert (run.volume / DATA).stat().st_size > 0, run.output
    assert read_record(run.volume / RECORD.format("cpu")).status == "ok", run.output


def test_a_pod_has_the_image_and_the_volume(run: Run) -> None:
    for job in run.cluster.jobs.values():
        pod = job["spec"]["template"]["spec"]
        assert container(job)["image"] == "registry.example/torchmodes:0.1.0"
        assert {"mountPath": str(run.volume), "name": "torchmodes"} in container(job)[
            "volumeMounts"
        ]
        claims = [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]]
        assert "torchmodes" in claims


def test_a_measuring_pod_has_limits_and_only_a_case_on_a_gpu_asks_for_one(run: Run) -> None:
    cpu, gpu = (container(run.job(f"device={device}"))["resources"] for device in ("cpu", "cuda"))
    assert cpu["limits"] == {"cpu": "4000m", "memory": "6000M", "ephemeral-storage": "4000M"}
    assert gpu["limits"] == cpu["limits"] | {"nvidia.com/gpu": "1"}
    assert gpu["requests"]["nvidia.com/gpu"] == "1"


def test_only_a_case_on_a_gpu_may_go_to_nodes_kept_for_gpus(run: Run) -> None:
    cpu, gpu = (run.job(f"device={d}")["spec"]["template"]["spec"] for d in ("cpu", "cuda"))
    assert "tolerations" not in cpu
    assert [toleration["key"] for toleration in gpu["tolerations"]] == ["nvidia.com/gpu"]
