"""Runs joined into a record: what counts, what is kept, and whose interval it is."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from record_factory import ENVIRONMENT, make_record

from torchmodes.measure.between_runs import VariancePrior
from torchmodes.measure.combine import ONE_PROCESS, centres, combine, moderated
from torchmodes.measure.quality import judge
from torchmodes.measure.statistics import effect
from torchmodes.results.records import Block, Exactness, Record, Usage

CASE = "inference/cpu/house_price/inductor/fp32-b2048"


def run(speed_up: float = 1.2, *, seed: int = 1, **more: Any) -> Record:
    """A run whose speed-up is its process's own."""
    return make_record(CASE, speed_up=speed_up, noise=0.002, seed=seed, **more)


def runs(*speed_ups: float) -> list[Record]:
    return [run(speed_up, seed=seed) for seed, speed_up in enumerate(speed_ups, 1)]


def test_the_interval_is_over_runs_and_holds_each_of_them():
    record = combine(runs(1.05, 1.20, 1.37))
    statistics = record.statistics
    assert statistics is not None
    assert statistics.speed_up.estimate == pytest.approx((1.05 * 1.20 * 1.37) ** (1 / 3), rel=0.02)
    assert statistics.speed_up.low is not None
    assert statistics.speed_up.high is not None
    assert statistics.speed_up.low < 1.05
    assert statistics.speed_up.high > 1.37
    assert record.verdict == "unresolved", "each process says faster, the next may not"
    assert all(each.verdict == "faster" for each in runs(1.05, 1.20, 1.37))
    assert statistics.runs == 3
    assert statistics.spread == pytest.approx(math.expm1(0.133), rel=0.1)


def test_runs_that_agree_give_a_verdict():
    record = combine(runs(1.30, 1.31, 1.32))
    assert record.verdict == "faster"
    assert [each.number for each in record.runs] == [1, 2, 3]
    assert all(each.left_out is None for each in record.runs)


def test_all_samples_are_kept_with_the_number_of_their_run():
    parts = runs(1.1, 1.2)
    record = combine(parts)
    assert record.samples is not None
    taken = [len(each.samples.blocks) for each in parts if each.samples is not None]
    assert [block.run for block in record.samples.blocks] == [1] * taken[0] + [2] * taken[1]
    assert len(centres(record)) == 2
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_case_has_finished_when_its_last_run_has():
    parts, later = runs(1.1, 1.2), "2100-01-01T00:00:00.000+00:00"
    parts[1] = parts[1].model_copy(
        update={"run": parts[1].run.model_copy(update={"finished_at": later})}
    )
    assert combine(parts).finished_at == later
    assert combine(parts[:1]).finished_at == parts[0].run.finished_at


def test_one_run_says_that_it_is_one():
    record = combine([run()])
    assert record.warnings[-1] == ONE_PROCESS
    assert record.runs == []


def test_the_cold_start_is_the_first_runs_and_the_warm_ones_are_kept():
    record = combine([run(first_call_s=20.0), run(first_call_s=2.0), run(first_call_s=3.0)])
    assert record.cost is not None
    assert record.cost.first_call_s == 20.0
    assert [each.first_call_s for each in record.runs] == [20.0, 2.0, 3.0]


@pytest.mark.parametrize("status", ["wrong", "failed", "unsupported"])
def test_a_run_that_is_not_ok_makes_the_record_so_and_says_which(status: Any):
    record = combine([run(), make_record(CASE, status=status, reason="it is"), run()])
    assert record.status == status
    assert record.reason == "run 2 of 3: it is"


def test_what_all_runs_say_is_said_once():
    record = combine([make_record(CASE, status="unsupported", reason="no GPU")] * 3)
    assert record.reason == "no GPU"


def test_what_the_first_run_alone_judged_is_kept_though_another_is_less_exact():
    scored = judge(np.ones(900), np.ones(900), margin=0.005)
    first = run(1.30, quality=scored)
    assert first.numerics is not None
    more = first.numerics.model_copy(update={"input_sets": 4})
    first = first.model_copy(update={"exactness": Exactness(reason="MPS"), "numerics": more})
    record = combine([first, run(1.31, relative_l2=9e-6), run(1.32)])
    assert (record.quality, record.exactness) == (scored, first.exactness)
    assert record.numerics is not None
    assert (record.numerics.relative_l2, record.numerics.input_sets) == (9e-6, 4)


def test_a_busy_run_is_kept_and_not_counted():
    busy = run(3.0).model_copy(update={"no_verdict": "others were busy", "remedy": "stop them"})
    record = combine([run(1.30), run(1.31), busy, run(1.32)])
    assert record.statistics is not None
    assert record.statistics.speed_up.estimate == pytest.approx(1.31, rel=0.01)
    assert record.statistics.runs == 3
    assert record.runs[2].left_out == "others were busy"
    assert "run 3 is not counted: others were busy" in record.warnings
    assert record.no_verdict is None


@pytest.mark.parametrize(("missing", "counts"), [(0.15, True), (0.8, False)])
def test_a_run_that_lacked_a_little_of_a_core_counts(missing: float, counts: bool):
    disturbed = run(1.31, seed=2)
    assert disturbed.cost is not None
    disturbed = disturbed.model_copy(
        update={
            "no_verdict": "others were busy",
            "remedy": "stop them",
            "cost": disturbed.cost.model_copy(update={"cores_missing": missing}),
        }
    )
    record = combine([run(1.30), disturbed, run(1.32, seed=3)])
    assert (record.runs[1].left_out is None) is counts


@pytest.mark.parametrize("missing", [None, 0.02, 0.15])
def test_a_doubt_about_the_mode_in_one_run_is_one_about_the_case(missing: float | None):
    """Too fast to be true, or fast on inputs it has seen: no other run settles that."""
    cheat = run(9.0)
    assert cheat.cost is not None
    cost = cheat.cost.model_copy(update={"cores_missing": missing})
    doubt = {"no_verdict": "it remembers", "remedy": "r", "doubted": True, "cost": cost}
    record = combine([cheat.model_copy(update=doubt), run(9.0, seed=2), run(9.0, seed=3)])
    assert (record.verdict, record.no_verdict) == ("unresolved", "it remembers")
    assert moderated(record, None, bias=None).verdict == "unresolved"


def test_where_all_runs_were_busy_there_is_no_verdict():
    busy = run().model_copy(update={"verdict": "unresolved", "no_verdict": "busy", "remedy": "r"})
    assert combine([busy, busy]).no_verdict == "busy"


def test_a_run_of_another_machine_does_not_join():
    elsewhere = deepcopy(ENVIRONMENT)
    elsewhere["machine"]["cpu"] = "Another CPU"
    record = combine([run(3.0, environment=elsewhere), run(1.30), run(1.31)])
    assert record.statistics is not None
    assert record.statistics.runs == 2
    assert record.runs[0].left_out == "it was measured on other hardware"


def test_warnings_of_runs_are_told_once():
    record = combine([run(warnings=["hot"]), run(warnings=["hot", "stopped at the time budget x"])])
    assert record.warnings == ["hot"]


def test_usage_is_the_mean_of_the_runs():
    parts = [
        run().model_copy(
            update={"usage": Usage(minor_faults=n, involuntary_switches=0, system_share=None)}
        )
        for n in (0, 992)
    ]
    assert combine(parts).usage == Usage(
        minor_faults=496, involuntary_switches=0, system_share=None
    )


def test_other_cases_of_the_device_make_the_interval_narrower_and_the_bias_the_margin_wider():
    record = combine(runs(1.28, 1.31, 1.34))
    prior = VariancePrior(variance=1e-4, degrees_of_freedom=10, most_degrees_of_freedom=40)
    among = moderated(record, prior, bias=math.log(1.5))
    assert record.statistics is not None
    assert among.statistics is not None
    assert among.statistics.half_width < record.statistics.half_width
    assert among.statistics.speed_up.estimate == record.statistics.speed_up.estimate
    assert among.statistics.margin == pytest.approx(0.5)
    assert (record.verdict, among.verdict) == ("faster", "unresolved")


def test_few_blocks_that_happen_to_resemble_each_other_widen_no_record():
    """Five blocks of ONNX Runtime, of which a lag-1 autocorrelation of 0.49 was reckoned."""
    slow = run()
    assert slow.samples is not None
    blocks = [
        Block(order="ABBA", seconds=(math.exp(ratio), 1.0, 1.0, math.exp(ratio)), at_s=at_s)
        for at_s, ratio in enumerate([0.536, 0.631, 0.487, 0.455, 0.418])
    ]
    few = slow.model_copy(
        update={"samples": slow.samples.model_copy(update={"blocks": blocks})}, deep=True
    )
    alike = VariancePrior(1e-6, math.inf, 30)
    record = moderated(combine([few, few]), alike, bias=None)
    assert record.statistics is not None
    assert effect([0.536, 0.631, 0.487, 0.455, 0.418]).standard_error == pytest.approx(0.207, 0.01)
    assert record.statistics.standard_error == pytest.approx(0.033 / math.sqrt(2), 0.02)


def test_a_record_of_one_process_is_left_as_it_is():
    assert moderated(run(), None, bias=None) == run()
