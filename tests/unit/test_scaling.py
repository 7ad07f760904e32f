"""What the scaling benchmark plans is as many cases as it says."""

from __future__ import annotations

import pytest
import yaml

from benchmarks.scaling import ROOT, grid
from torchmodes.config import parse_config
from torchmodes.planning.cases import expand_grids


@pytest.mark.parametrize("cases", [100, 1000])
def test_a_grid_has_exactly_so_many_cases_and_nothing_else(cases: int) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in grid(cases).items():
        nested = isinstance(value, dict)
        config[key] = {**config[key], **value} if nested else value
    checked = parse_config(config)
    assert len(expand_grids(checked.benchmark, auto="cpu")) == cases
    assert not checked.profile.cases
    assert not any(getattr(checked.studies, study) for study in type(checked.studies).model_fields)


def test_a_number_that_no_grid_has_is_refused() -> None:
    with pytest.raises(ValueError, match="150 is not a multiple of 100"):
        grid(150)
