"""Dockerfile and compose files name targets, files and arguments that exist."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w./-]+):", MAKEFILE, re.MULTILINE))
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and line[0] not in "#!"
]


def instructions(name: str) -> list[str]:
    """Return the arguments of every instruction of a kind; continued lines are joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]


def test_the_image_installs_by_the_makefile_alone() -> None:
    (made,) = [run.partition("make ")[2].split() for run in instructions("RUN") if " make ." in run]
    assert made == [".venv/ready"]
    assert set(made) <= TARGETS
    assert not [
        run for run in instructions("RUN") if re.search(r"\b(pip|uv) (install|sync)\b", run)
    ]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    first, last = [copy.split() for copy in instructions("COPY")]
    assert last == [".", "."]
    for file in first[:-1]:
        assert (ROOT / file).is_file()
        assert not any(fnmatch.fnmatch(file, pattern) for pattern in IGNORED)


def test_what_installing_reads_is_copied_before_it() -> None:
    (first, _) = [copy.split() for copy in instructions("COPY")]
    (needs,) = re.findall(r"^\.venv/ready: (.+)$", MAKEFILE, re.MULTILINE)
    assert {"Makefile", *needs.split()} <= set(first)


def test_both_devices_have_a_base_that_can_be_pinned() -> None:
    arguments = dict(argument.split("=") for argument in instructions("ARG"))
    bases = instructions("FROM")
    assert bases == ["${CPU_BASE} AS cpu", "${CUDA_BASE} AS cuda", "${DEVICE}"]
    assert arguments.keys() == {"DEVICE", "CPU_BASE", "CUDA_BASE"}


def test_nothing_runs_as_root() -> None:
    assert instructions("USER") == ["1000"]
    command = instructions("CMD")[-1]
    assert set(re.findall(r'"make", "(\w+)"', command)) <= TARGETS


def test_every_service_is_a_target_of_the_makefile(services: dict[str, Any]) -> None:
    assert services.keys() == {"run", "report", "app", "tensorboard"}
    for name, service in services.items():
        assert service["command"][:2] == ["make", name]
        assert name in TARGETS
        assert service["user"] == "${RUN_AS:-1000:1000}"


def test_results_and_reports_stay_on_the_host(services: dict[str, Any]) -> None:
    (workdir,) = instructions("WORKDIR")
    for service in services.values():
        mounted = dict(volume.split(":")[:2] for volume in service["volumes"])
        assert mounted["./results"] == f"{workdir}/results"
        assert mounted["./reports"] == f"{workdir}/reports"
        assert mounted["state"] == f"{workdir}/.snakemake"
        for source in mounted:
            assert not source.startswith("./") or (ROOT / source).exists()


def test_the_overlay_for_a_gpu_changes_a_service_that_exists(services: dict[str, Any]) -> None:
    overlay = yaml.safe_load((ROOT / "compose.cuda.yaml").read_text(encoding="utf-8"))
    assert overlay["services"].keys() <= services.keys()
