"""The part of docs/models.md on kinds: all of config/kinds.yaml, by the command that made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.kinds import LIST, kinds_part
from tools.models import KINDS, PAGE
from torchmodes.workloads.models.check import read_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(monkeypatch):
    monkeypatch.chdir(ROOT)
    return read_config([LIST])


def test_the_page_has_every_kind_and_nothing_failed_or_came_out_wrong(config):
    (grid,) = config.benchmark
    part = PAGE.read_text().partition(KINDS)[2]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == list(grid.models)
    statuses = {cell.removesuffix(" |") for row in rows for cell in row[2:]}
    assert statuses == {"ok", "unsupported"}


def test_a_case_without_a_record_is_told(config):
    with pytest.raises(ValueError, match="no record of detector in eager"):
        kinds_part(config, [])
