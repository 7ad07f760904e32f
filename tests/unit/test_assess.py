"""The same samples give the same figures: blocks measured once, with what came of them then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from torchmodes.measure.assess import assess
from torchmodes.measure.load import Load
from torchmodes.measure.sampler import Sampling
from torchmodes.planning.cases import parse_case
from torchmodes.results.records import (
    Execution,
    Interval,
    Measured,
    Part,
    Samples,
    Statistics,
    Warmup,
)

STORED = json.loads((Path(__file__).parent / "measured_blocks.json").read_text())


def assessed(stored: dict[str, Any]) -> Measured:
    sampling = Sampling(
        samples=Samples.model_validate(stored["samples"]),
        warmup=Warmup(calls=20, seconds=0.2, steady=True),
        converged=stored["statistics"]["converged"],
        run=Execution(sampling_s=1.0, bookkeeping_share=0.5),
    )
    return assess(
        parse_case(stored["case"]),
        sampling,
        minimum_effect=0.01,
        extra_s=0.05,
        load=Load(own=1.0, others=0.0, stolen=0.0, cores=2),
        threads=1,
    )


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["case"])
def test_stored_blocks_give_the_stored_figures(stored: dict[str, Any]) -> None:
    result = assessed(stored)
    assert result.verdict == stored["verdict"]
    assert result.statistics is not None
    assert result.cost is not None
    expected = Statistics.model_validate(stored["statistics"])
    close_to(result.statistics, expected)
    close_to(result.cost.break_even_calls, Interval.model_validate(stored["break_even_calls"]))


def close_to(found: Any, expected: Any) -> None:
    """Compare parts of records field by field; other mathematics libraries round otherwise."""
    assert type(found) is type(expected)
    for name, value in expected:
        if isinstance(value, Part):
            close_to(getattr(found, name), value)
        elif isinstance(value, float):
            assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
        else:
            assert getattr(found, name) == value, name


def test_percentiles_are_of_calls_and_the_speed_up_of_their_medians() -> None:
    """One call of five is ten times as slow: in the tail, and in no ratio."""
    stored = json.loads(json.dumps(STORED[0]))
    calls = [2e-3, 2e-3, 20e-3, 2e-3, 2e-3]
    for block in stored["samples"]["quads"]:
        block |= {"seconds": [2e-3] * 4, "calls": [calls] * 4}
    found = assessed(stored).statistics
    assert found is not None
    assert found.speed_up.estimate == 1.0
    assert found.candidate.median_s == 2e-3
    assert found.candidate.n == 10 * found.blocks
    assert found.candidate.p90_s == 20e-3
    assert found.throughput_per_s == pytest.approx(64 / 2e-3)
