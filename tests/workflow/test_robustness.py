"""What a machine can do to a run: each thing works or is one clear message.

Runs that are killed are in test_kills.py, faults of a mode in test_faults.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workflow.conftest import Workflow, copy_repository

from torchmodes.results.records import read_record

pytestmark = pytest.mark.workflow
HOUSING = "results/data/housing.csv"
COMPILERS = re.compile(r"(^|-)(c\+\+|cc|g\+\+|gcc|clang|clang\+\+|icpx?|nvcc)(-[\d.]+)?$")


@pytest.fixture
def copy(tmp_path: Path) -> Workflow:
    """A copy whose path has what shells and locales stumble over."""
    return copy_repository(tmp_path / "törch modes (1) & 'more'")


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something on a folder, which only root may."""
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder: root is stopped by a mount alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        with mounted(folder, "-t", "tmpfs", "-o", "ro", "tmpfs"):
            yield
        return
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def test_read_only_results_are_one_message_before_any_job(copy: Workflow) -> None:
    with read_only(copy.folder / "results"):
        ran = copy.smoke(HOUSING)
    assert ran.returncode != 0
    assert "results/ cannot be written" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert "rule prepare_housing" not in ran.stdout


def test_a_full_disk_is_one_message_and_leaves_no_part_of_a_file(copy: Workflow) -> None:
    results = copy.folder / "results"
    with mounted(results, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        ran = copy.smoke(HOUSING)
        assert not (copy.folder / HOUSING).exists()
    assert ran.returncode != 0
    assert "Error: the disk is full: free some space and run snakemake again" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_lock_that_cannot_be_had_is_told_once_before_any_job(copy: Workflow) -> None:
    lock = Path(copy.environment["TMPDIR"], "torchmodes-machine.lock")
    lock.mkdir()  # somebody else's, whatever it is
    ran = copy.smoke(HOUSING)
    assert ran.returncode == 0, ran.stdout
    told = "Warning: no lock against measurements from other folders"
    assert ran.stdout.count(told) == 1
    assert ran.stdout.index(told) < ran.stdout.index("rule prepare_housing")


def test_any_path_will_do_for_the_folder_and_for_the_interpreter(copy: Workflow) -> None:
    python = copy.folder / ".venv" / "bin" / "python"
    command = [sys.executable, "-m", "venv", "--without-pip", str(copy.folder / ".venv")]
    subprocess.run(command, check=True)
    (site,) = (copy.folder / ".venv").glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    ran = subprocess.run(
        [str(python), "-m", "snakemake", "--cores", "1", HOUSING],
        cwd=copy.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (copy.folder / HOUSING).exists()


def test_from_another_folder_results_and_config_are_that_folders(
    copy: Workflow, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "élsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.csv").write_text("area,price\n" + "".join(f"{i},{i}\n" for i in range(3000)))
    (elsewhere / "mine.yaml").write_text(
        "data: { source: mine.csv, features: [area], target: price }\n"
    )
    snakefile = str(copy.folder / "Snakefile")
    arguments = ("--snakefile", snakefile, HOUSING, "--configfile", "mine.yaml")
    ran = Workflow(elsewhere).run(*arguments)
    assert ran.returncode == 0, ran.stdout
    assert (elsewhere / HOUSING).read_text().startswith("area,price\n")
    assert not (copy.folder / HOUSING).exists()
    assert "profiles/default" in ran.stdout, "without it two measurements could overlap"


def test_a_second_run_in_a_folder_is_refused_and_the_first_goes_on(copy: Workflow) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", HOUSING],
        cwd=copy.folder,
        env=copy.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    locks = copy.folder / ".snakemake" / "locks"
    while not (locks.exists() and any(locks.iterdir())):
        assert first.poll() is None, "it ended before it was seen"
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # for as long as the second tries
    try:
        second = copy.run(HOUSING)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout
    assert "Traceback" not in second.stdout
    assert first.wait(timeout=120) == 0
    assert (copy.folder / HOUSING).exists()


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_make_refuses_a_python_that_is_too_old_or_too_new(
    copy: Workflow, version: tuple[int, int]
) -> None:
    fake = copy.folder / "python"
    code = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])"
    fake.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$2"\n')
    fake.chmod(0o755)
    ran = subprocess.run(
        ["make", "smoke", "PYTHON=./python"],
        cwd=copy.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "torchmodes needs Python 3.11 to 3.13" in ran.stderr
    assert f"is {version[0]}.{version[1]}: make PYTHON=python3.12" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (copy.folder / ".venv").exists()


@pytest.mark.robustness
def test_without_a_compiler_what_needs_one_is_unsupported_and_the_run_completes(
    fresh: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(_tools_without_compilers(tmp_path / "bin")))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    modes = ["eager", "inductor", "fx-custom-op"]
    block = {
        "task": "inference",
        "models": ["house_price"],
        "modes": modes,
        "batch_sizes": [64],
        "devices": ["cpu"],
    }
    config = {
        "benchmark": [block],
        "training": {"modes": ["eager"]},
        "profile": {"cases": []},
        "studies": {"inference_context": [], "batch_scaling": []},
    }
    (fresh.folder / "three.yaml").write_text(json.dumps(config))
    ran = fresh.run("results/summary.csv", "--configfile", "config/smoke.yaml", "three.yaml")
    assert ran.returncode == 0, ran.stdout
    found = {
        mode: read_record(
            fresh.folder / f"results/benchmark/inference/cpu/house_price/{mode}/fp32-b64.json"
        )
        for mode in modes
    }
    assert found["eager"].status == "ok"
    for mode in modes[1:]:
        assert found[mode].status == "unsupported", found[mode].in_brief()
        assert "compiler" in (found[mode].reason or "")
        assert "install" in (found[mode].remedy or "")


def _tools_without_compilers(folder: Path) -> Path:
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for tool in sorted(Path(place).glob("*")):
            link = folder / tool.name
            if not (COMPILERS.search(tool.name) or link.is_symlink()):
                link.symlink_to(tool)
    return folder
