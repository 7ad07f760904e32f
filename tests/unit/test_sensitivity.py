"""Whether `make bench` finds work that is known to be there, and none that is not."""

from __future__ import annotations

from record_factory import make_record

from benchmarks.engine import RUNS, drawn
from torchmodes.results.records import Record


def processes(mode: str, speed_up: float) -> list[Record]:
    return [
        make_record(f"inference/cpu/m/{mode}/fp32-b8", speed_up=speed_up, noise=0.005, seed=seed)
        for seed in range(2 * RUNS)
    ]


def test_more_work_is_found_and_none_is_not() -> None:
    cases = {"eager": 1.0, "eager-twin": 1.0, "slowed-10": 1 / 1.10}
    verdicts = drawn({mode: processes(mode, by) for mode, by in cases.items()}, groups=2, draws=5)
    assert verdicts["slowed-10"] == ["slower"] * 5
    assert len(verdicts["eager-twin"]) == 5
    assert not {"slower", "faster"} & set(verdicts["eager-twin"])
