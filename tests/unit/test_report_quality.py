"""What the report says of a mode on the user's data, and of what is left of the machine."""

from __future__ import annotations

from typing import Any

import pytest
from record_factory import make_record

from torchmodes.report import sentences
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.formatting import duration
from torchmodes.report.hardware import limit
from torchmodes.report.html import render_report
from torchmodes.report.markdown import render_brief, render_summary
from torchmodes.report.problems import problems
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.verdicts import judge
from torchmodes.results.records import Agreement, Exactness, Quality, Record

CASE = "inference/cpu/resnet50/{}/{}-b1"
RIGHT = Quality(
    verdict="no worse",
    kind="right or wrong",
    examples=2000,
    baseline=0.914,
    candidate=0.912,
    difference=-0.002,
    low=-0.0041,
    high=0.0001,
    margin=0.005,
    better=3,
    worse=7,
    examples_needed=None,
)


def quality(**more: Any) -> Quality:
    return RIGHT.model_copy(update=more)


WORSE = quality(verdict="worse", candidate=0.8, difference=-0.114, low=-0.13, high=-0.1)
OPEN = quality(verdict="unresolved", low=-0.0072, high=0.0032, examples_needed=3400)


def run(of_int8: Quality | None) -> list[Record]:
    """Eager, a mode in fp32 that is faster, and one in int8 that is much faster."""
    return [
        make_record(CASE.format("eager", "fp32"), seed=1),
        make_record(CASE.format("inductor", "fp32"), speed_up=1.3, seed=2),
        make_record(CASE.format("quantize", "int8"), speed_up=2.5, seed=3, quality=of_int8),
    ]


def shipped(of_int8: Quality | None) -> str:
    (group,) = group_cases(judge(run(of_int8)))
    recommendation = recommend(group)
    assert recommendation.best is not None
    return recommendation.best.name


@pytest.mark.parametrize("of_int8", [None, RIGHT, OPEN], ids=["no data", "no worse", "unresolved"])
def test_a_mode_that_is_not_shown_to_be_worse_is_picked(of_int8: Quality | None):
    assert shipped(of_int8) == "quantize int8"


def test_a_mode_that_is_worse_is_not_picked_however_fast():
    assert shipped(WORSE) == "inductor"
    worse = next(case for case in judge(run(WORSE)) if case.record.is_worse)
    assert (worse.verdict, worse.competes, sentences.verdict(worse)) == (None, False, "worse")


def test_where_the_only_fast_mode_is_worse_eager_stays():
    (group,) = group_cases(judge([*run(WORSE)[:1], run(WORSE)[2]]))
    recommendation = recommend(group)
    assert recommendation.answer == "alone"
    assert sentences.reason(recommendation) == "Eager ran; 1 was worse on your data."


def test_it_is_told_why_it_was_not_picked_in_the_page_and_in_the_summary():
    data = make_report_data(run(WORSE))
    (problem,) = [p for p in problems(data) if p.kind == "worse"]
    assert problem.reason == (
        "On your data it is worse than eager: 80.0\u202f% of 2,000 examples right, eager"
        " 91.4\u202f%; the difference is −11.4 points (−13.0 to −10.0), allowed −0.50."
    )
    assert "quality_margin" in problem.remedy
    told = "Not picked, because worse on your data: quantize int8."
    assert told in render_summary(data)
    page = render_report(data)
    assert told in page
    assert '<span class="chip worse">worse</span>' in page


@pytest.mark.parametrize(
    ("of_int8", "told"),
    [
        (RIGHT, "On your data it is no worse than eager: 91.2\u202f% of 2,000 examples right"),
        (OPEN, "3,400 examples like these would decide."),
        (
            quality(verdict="unresolved", examples_needed=None),
            "no number of examples would decide.",
        ),
        (
            quality(kind="score", baseline=-1.25, candidate=-1.26, difference=-0.01),
            "mean score -1.26 on 2,000 examples, eager -1.25; the difference is −0.010",
        ),
    ],
)
def test_quality_is_told_beside_the_pick(of_int8: Quality, told: str):
    data = make_report_data(run(of_int8))
    assert told in render_report(data)
    assert told in render_summary(data).replace("\\", "")
    assert told in render_brief(data, width=120).replace("\\", "")


def test_without_data_nothing_is_said_of_them():
    page = render_report(make_report_data(run(None)))
    assert "your data" not in page
    assert "Exactness and choices" not in page


def test_exactness_and_choices_are_told():
    exact, coarse, without = (
        judge([make_record(CASE.format("m", "bf16")).model_copy(update={"exactness": found})])[0]
        for found in (
            Exactness(eager=3e-7, mode=3.1e-7),
            Exactness(eager=3e-7, mode=4.2e-3),
            Exactness(reason="MPS has no fp64"),
        )
    )
    assert sentences.exactness(exact) == (
        "no less exact than eager: relative error 3.1e-07, eager 3e-07"
    )
    assert sentences.exactness(coarse) == (
        "14,000 times eager's error: relative error 0.42\u202f%, eager 3e-07"
    )
    assert sentences.exactness(without) == "not measured: MPS has no fp64"
    found = Agreement(
        decisions=1024,
        input_sets=2,
        top1=0.99,
        flips_by_lead=(0.04, 0, 0, 0),
        kl_divergence=0.0012,
        random_weights=True,
    )
    record = run(RIGHT)[2].model_copy(update={"agreement": found})
    said = sentences.agreement(judge([record])[0])
    assert said == (
        "eager's first choice in 99.0\u202f% of 1,024 decisions; another in 4.0\u202f% of those"
        " that are closest in eager and in 0\u202f% of the clearest quarter; KL divergence 0.0012"
        " nats; of random weights, so of near ties"
    )
    assert "Exactness and choices" in render_report(make_report_data([run(RIGHT)[0], record]))


def with_peaks(records: list[Record], **rates: float) -> ReportData:
    ceiling = {"threads": 2, "flops_per_s": rates, "copy_bytes_per_s": 3e10, "triad_bytes_per_s": 1}
    machine = {"status": "ok", "ceilings": [ceiling]}
    return make_report_data(records, roofline={"machines": {"cpu": machine}, "points": []})


def test_what_is_left_is_told_at_the_peak_of_the_cases_precision():
    record = make_record(CASE.format("quantize", "int8"), speed_up=2.0, baseline_s=0.02)
    assert record.statistics is not None
    counted = record.model_copy(
        update={"flops": int(0.38 * 885e9 * record.statistics.candidate.median_s)}
    )
    data = with_peaks([counted], fp32=200e9, int8=885e9)
    told = "int8 runs at 38\u202f% of this machine's int8 peak (885 GFLOP/s of matrix products)"
    said = limit(data.cases[0], data)
    assert said is not None
    assert said.startswith(f"{told}. Of a call's ")
    assert told.replace("'", "&#39;") in render_report(data)
    assert limit(data.cases[0], with_peaks([counted], fp32=200e9)) is None
    assert limit(make_report_data([record]).cases[0], data) is None, "its operations are not known"


def test_below_two_fifths_of_the_peak_it_is_told_where_the_rest_goes():
    record = make_record(CASE.format("quantize", "int8"), speed_up=1.0, baseline_s=0.01)
    assert record.statistics is not None
    seconds = record.statistics.candidate.median_s

    def said(*, share: float | None, reached: float, moved: int | None = None) -> str | None:
        facts = {} if share is None else {"share_of_multiply_adds": share}
        flops = int(reached * 1000e9 * seconds)
        data = with_peaks(
            [record.model_copy(update={"flops": flops, "facts": facts})], fp32=200e9, int8=1000e9
        )
        if moved is not None:
            data.roofline["points"].append(
                {"case": str(record.identity), "compulsory_bytes": moved}
            )
        return limit(data.cases[0], data)

    near = said(share=1.0, reached=0.5)
    assert near is not None
    assert "Of a call's" not in near
    # A tenth of the time at the int8 peak, were all in int8; fp32's peak is a fifth of it.
    islands = said(share=0.8, reached=0.1)
    assert islands is not None
    in_int8, in_fp32 = duration(0.08 * seconds), duration(0.1 * seconds)
    assert f"take {in_int8} at that peak and those left in fp32 {in_fp32} at fp32's;" in islands
    assert "the other 82\u202f% are operators that multiply nothing" in islands
    unknown = said(share=None, reached=0.1)
    assert unknown is not None
    assert "fp32" not in unknown
    assert "memory" not in unknown
    bound = said(share=1.0, reached=0.1, moved=int(0.9 * seconds * 3e10))
    assert bound is not None
    assert "to move each byte once, so that memory is the limit; the other 10\u202f%" in bound
