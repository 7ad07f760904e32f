"""Whether records of one case agree: counted on records whose truth is known."""

from __future__ import annotations

from record_factory import make_record

from benchmarks.repeatability import Agreement, agreement, rows
from torchmodes.measure.combine import combine
from torchmodes.results.records import Record

CASE = "inference/cpu/m/{}/fp32-b1"


def record(mode: str, *speed_ups: float) -> Record:
    return combine(
        [
            make_record(CASE.format(mode), speed_up=speed_up, noise=0.002, seed=seed)
            for seed, speed_up in enumerate(speed_ups)
        ]
    )


def test_records_that_agree_and_one_that_does_not_are_counted() -> None:
    steady = record("fx", 1.30, 1.31, 1.32)
    sets = [
        [steady, record("onnx", 1.10, 1.11, 1.12)],
        [steady, record("onnx", 1.11, 1.12, 1.13)],
        [steady, record("onnx", 0.80, 0.81, 0.82)],
    ]
    found = agreement(sets)
    assert (found.records, found.pairs) == (6, 6)
    assert found.compatible == 4
    assert (found.contradictory, found.opposite) == (2, 2)
    assert 0.005 < found.half_width < 0.05


def test_one_process_is_compared_by_its_own_interval() -> None:
    found = agreement([[record("fx", 1.2)], [record("fx", 1.3)]])
    assert (found.pairs, found.compatible, found.contradictory) == (1, 0, 0)


def test_a_case_that_is_not_measured_every_time_is_left_out() -> None:
    failed = make_record(CASE.format("onnx"), status="failed")
    both = [[record("fx", 1.2, 1.21), failed], [record("fx", 1.2, 1.21), record("onnx", 1.2, 1.3)]]
    assert agreement(both).pairs == 1


def test_the_table_has_both_kinds() -> None:
    told = vars(Agreement(12, 6, 5, 1, 0, 0.04))
    several, one = rows({"several": told, "one": told})
    assert several[1] == (
        "83.3% (1 contradict each other, of which 0 faster against slower; ± 4.0%)"
    )
    assert one[0] == "(f) 6 pairs of records of one process of the same time: compatible"
