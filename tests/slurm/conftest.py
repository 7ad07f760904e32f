"""A SLURM cluster for the tests of this folder, installed where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from slurm.cluster import CONFIGURATION, FILES, Cluster, running_cluster

PACKAGES = ("slurm-wlm", "munge")
DAEMONS = ("slurmctld", "slurmd", "munged")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes on this machine."""
    if os.geteuid() != 0:
        pytest.skip("the daemons of SLURM need root; in a container you are")
    if found := [name for name in FILES if (CONFIGURATION / name).exists()]:
        pytest.skip(f"{CONFIGURATION} has a {found[0]}: a SLURM of this machine is left alone")
    install()
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def install() -> None:
    """Install SLURM from Debian's (or Ubuntu's) packages where it is not there."""
    if all(map(shutil.which, DAEMONS)):
        return
    if shutil.which("apt-get") is None:
        pytest.skip(f"{', '.join(DAEMONS)} are not installed, and there is no apt-get to do it")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        ran = subprocess.run(
            ["apt-get", "--quiet", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if ran.returncode:
            pytest.skip(f"apt-get {command[0]} failed: {ran.stderr.strip()[-300:]}")
