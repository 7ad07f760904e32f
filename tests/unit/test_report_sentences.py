"""Words follow verdicts and figures: swap the figures and the sentences swap."""

from __future__ import annotations

import pytest
from record_factory import house_price_records, make_record, make_training

from torchmodes.report import formatting, sentences
from torchmodes.report import formatting as q
from torchmodes.report.data import Study, make_report_data
from torchmodes.report.problems import problems
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.sections import loss_agreement
from torchmodes.report.studies import findings
from torchmodes.report.verdicts import judge
from torchmodes.results.records import Interval, Record
from torchmodes.studies.catalogue import CompileCost

CASE = "training/cpu/house_price/{}/fp32-b2048"


def recommendation_of(records: list[Record]):
    (group,) = group_cases(judge(records))
    return recommend(group)


def swapped(records: list[Record], one: str, other: str) -> list[Record]:
    """The same records with the names of two modes exchanged."""
    names = {one: other, other: one}
    return [
        record.model_copy(
            update={
                "case": record.case.model_copy(
                    update={"mode": names.get(record.case.mode, record.case.mode)}
                )
            }
        )
        for record in records
    ]


def said(records: list[Record]) -> str:
    recommendation = recommendation_of(records)
    return " | ".join(
        [
            sentences.headline(recommendation),
            sentences.reason(recommendation),
            sentences.runner_up(recommendation) or "",
        ]
    )


def test_swapped_records_swap_the_words() -> None:
    records = house_price_records()
    before, after = said(records), said(swapped(records, "inductor-step", "fx-custom-op"))
    assert "Ship inductor-step" in before
    assert "Ship fx-custom-op" in after
    assert before.replace("inductor-step", "fx-custom-op") == after


@pytest.mark.parametrize(
    ("speed_up", "noise", "blocks", "headline", "word"),
    [
        (1.2, 0.02, 60, "Ship mode", "as fast as eager"),
        (0.8, 0.02, 60, "Eager is fine", "mode is slower"),
        (1.0, 0.01, 300, "Eager is fine", "mode is the same"),
        (1.02, 0.3, 20, "Keep eager for now", "mode is unresolved"),
    ],
)
def test_each_verdict_has_its_own_words(speed_up, noise, blocks, headline, word) -> None:
    mode = make_record(CASE.format("mode"), speed_up=speed_up, noise=noise, blocks=blocks)
    recommendation = recommendation_of([make_record(CASE.format("eager")), mode])
    assert sentences.headline(recommendation) == headline
    assert word in sentences.reason(recommendation)
    assert ("faster" in sentences.reason(recommendation)) == (headline != "Ship mode")


def test_break_even_is_promised_only_where_something_is_gained() -> None:
    told = {judged.name: sentences.break_even(judged) for judged in judge(house_price_records())}
    assert "steps (" in told["inductor"]
    assert told["fx-custom-op"] == "never"
    assert told["fx"] == told["torchscript"] == "not established"
    assert told["eager"] == q.NOTHING


def test_a_break_even_without_an_upper_bound_says_so() -> None:
    assert q.call_range(Interval(estimate=100, low=40, high=None)) == "40–never"


@pytest.mark.parametrize(
    ("statuses", "headline", "text"),
    [
        (["failed", "failed"], "No result", "2 failed"),
        (["unsupported"], "No result", "1 was unsupported"),
        (["ok", "wrong"], "Nothing to compare eager with", "1 came out wrong"),
        (["ok"], "Nothing to compare eager with", "no other mode was measured"),
    ],
)
def test_groups_without_a_comparison_read_well(statuses, headline, text) -> None:
    records = [
        make_record(CASE.format("eager" if i == 0 else f"m{i}"), status=status)
        for i, status in enumerate(statuses)
    ]
    recommendation = recommendation_of(records)
    assert sentences.headline(recommendation) == headline
    assert text in sentences.reason(recommendation)


def test_of_one_process_the_words_say_that_more_would_tell() -> None:
    record = make_record(CASE.format("fx"), speed_up=1.3, noise_floor=None)
    (group,) = group_cases(judge([record]))
    assert sentences.noise(group) == "One run shows no noise between runs: raise measurement.runs."


def test_every_problem_is_listed_with_its_reason_the_worst_first() -> None:
    records = [
        *house_price_records(),
        make_record(CASE.format("a"), status="unsupported", reason="no CUDA", remedy="buy one"),
        make_record(CASE.format("b"), status="failed"),
        make_record(CASE.format("c"), status="wrong"),
        make_record(CASE.format("d"), no_effect="captured 0 graphs"),
    ]
    data = make_report_data(records, trainings=[make_training("fx", status="failed")])
    found = [(problem.kind, problem.case.split("/")[-2:][0]) for problem in problems(data)]
    assert [kind for kind, _ in found] == [
        *("failed", "failed", "wrong", "unsupported", "no effect")
    ]
    assert ("unsupported", "no CUDA", "buy one") in {
        (problem.kind, problem.reason, problem.remedy) for problem in problems(data)
    }


def test_loss_curves_are_compared_by_figures() -> None:
    same = make_report_data([], trainings=[make_training("eager"), make_training("fx")])
    off = make_report_data([], trainings=[make_training("eager"), make_training("fx", offset=2e-4)])
    assert loss_agreement(same) == "In every epoch, every mode has exactly eager's training loss."
    assert "2.0e-04" in (loss_agreement(off) or "")
    assert loss_agreement(make_report_data([], trainings=[make_training("fx")])) is None


def test_a_study_becomes_a_finding_of_its_own_figures() -> None:
    case = {
        "task": "inference",
        "device": "cpu",
        "model": "resnet50",
        "mode": "inductor",
        "precision": "fp32",
        "batch_size": 1,
    }
    entry = {"case": case, "status": "ok", "reason": None, "cold_s": 24.0, "warm_s": 4.0}
    data = make_report_data(
        [], studies=[Study("compile_cost", CompileCost.model_validate({"cases": [entry]}))]
    )
    (finding,) = findings(data)
    assert (
        "4.00\N{NARROW NO-BREAK SPACE}s instead of 24.0\N{NARROW NO-BREAK SPACE}s" in finding.text
    )
    assert finding.rows[0][3] == "6.00×"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (q.duration(0.00694), "6.94 ms"),
        (q.duration(8.2e-5), "82.0 µs"),
        (q.duration(0), "0 s"),
        (q.duration(150), "2.50 min"),
        (q.duration(9000), "2.50 h"),
        (q.duration(None), "—"),
        (q.size(735_000_000), "735 MB"),
        (q.ratio(1.1534), "1.15×"),
        (q.ratio(307.2), "307×"),
        (q.percent(0.0123), "1.2 %"),
        (q.calls(12_543), "12,500"),
        (q.calls(1_250_000), "1.25 million"),
        (q.rate(357_123), "357,000"),
        (q.ratio_range(Interval(estimate=1, low=0.9, high=1.2)), "0.9 to 1.2"),
        (q.ratio_range(Interval(estimate=1, low=0.9, high=None)), "too noisy to say"),
        (q.ratio_range(Interval(estimate=1, low=0.0, high=1.4e18)), "too noisy to say"),
        (q.ratio_range(Interval(estimate=1, low=None, high=None)), "no interval"),
        (q.estimate(Interval(estimate=80.1, low=28.9, high=222)), "—"),
        (q.speed_up(Interval(estimate=80.1, low=28.9, high=222)), "too noisy to say"),
        (q.speed_up(Interval(estimate=80.1, low=60.0, high=100)), "80× (60 to 100)"),
        (q.speed_up(Interval(estimate=3.187, low=3.06, high=3.31)), "3.2× (3.1 to 3.3)"),
        (q.speed_up(Interval(estimate=1.6312, low=1.551, high=1.714)), "1.63× (1.55 to 1.71)"),
        (q.speed_up(Interval(estimate=1.002, low=0.9979, high=1.0063)), "1.002× (0.998 to 1.006)"),
        (q.effect(1.063), "+6.3 %"),
        (q.effect(0.996), "−0.40 %"),
        (q.plural(1, "case"), "1 case"),
        (q.listing(["a", "b", "c"]), "a, b and c"),
        (formatting.facts({"graphs": 1, "graph_breaks": {}}), "graphs 1; graph breaks none"),
        (formatting.cell("self_cpu_s", 0.002), "2.00 ms"),
    ],
)
def test_quantities_have_units_and_few_digits(written: str, expected: str) -> None:
    assert written.replace("\N{NARROW NO-BREAK SPACE}", " ") == expected


def test_a_model_that_is_wrong_against_itself_is_told_once() -> None:
    path, fault = "inference/cpu/mine/{}/fp32-b4", "the model is not deterministic"
    records = [
        make_record(path.format("eager"), status="wrong", reason=fault, remedy="mend the model"),
        make_record(path.format("fx"), status="wrong", reason=fault, remedy="mend the model"),
        make_record(path.format("trace"), status="wrong", reason="on other inputs: output: …"),
        make_record(path.format("eager").replace("mine", "other")),
        make_record(path.format("fx").replace("mine", "other"), status="wrong", reason=fault),
    ]
    found = [(problem.case, problem.reason) for problem in problems(make_report_data(records))]
    assert found == [
        ("inference/cpu/mine/eager/fp32-b4", fault),
        ("inference/cpu/mine/trace/fp32-b4", "on other inputs: output: …"),
        ("inference/cpu/other/fx/fp32-b4", fault),
    ]
