"""Measurements from different folders take turns; who holds the machine cannot take it along."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from torchmodes.alone import alone_on_machine, lock_file

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from torchmodes.alone import alone_on_machine\n"
    "with alone_on_machine(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def hold(lock: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(lock)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_waits_says_so_and_begins_when_the_first_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = tmp_path / "lock"
    first = hold(lock)
    second = hold_in_background(lock)
    time.sleep(0.5)
    assert second.poll() is None, "it began beside the first"
    first.kill()
    first.wait()
    with caplog.at_level(logging.WARNING):
        assert second.wait(timeout=20) == 0
    told = second.communicate()[1]
    assert "another measurement runs on this machine" in told
    assert str(lock) in told


def hold_in_background(lock: Path) -> subprocess.Popen[str]:
    code = "import logging; logging.basicConfig()\n" + HOLD.replace("time.sleep(60)", "pass")
    return subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_without_a_place_for_the_lock_the_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = []
    with alone_on_machine(tmp_path / "missing" / "lock"):
        done.append(1)
    assert done
    assert "no lock against measurements from other folders" in caplog.text


def test_jobs_with_different_gpus_of_a_node_do_not_wait_for_each_other() -> None:
    first, second = ({"CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "GPU-8a/1"))
    assert len({lock_file(first), lock_file(second), lock_file({})}) == 3
    assert lock_file(second).parent == lock_file({}).parent, "the name stays one file name"


def test_every_rule_that_has_the_machine_alone_keeps_other_folders_waiting() -> None:
    rules = re.split(
        r"^rule ", "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk")), flags=re.M
    )
    alone = [rule for rule in rules if "machine=100" in rule]
    assert len(alone) >= 7
    for rule in alone:
        script = re.search(r'script:\s+"\.\./(.*)"', rule)
        assert script is not None
        assert "alone_on_machine()" in (ROOT / script[1]).read_text(), script[1]
