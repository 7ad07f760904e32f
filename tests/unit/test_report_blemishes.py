"""The page read by somebody who wants to catch it out: signs, units, plurals, figures, claims."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pandas as pd
import pytest
from profile_factory import CHANGE, EAGER, ROOFLINE, a_profile
from record_factory import house_price_records, make_generation, make_record, make_training

from torchmodes.measure.combine import combine
from torchmodes.report import formatting, sentences
from torchmodes.report.data import make_report_data
from torchmodes.report.hardware import advice_by_hardware
from torchmodes.report.html import render_report
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.unresolved import headline, unresolved
from torchmodes.report.verdicts import JudgedRecord, judge
from torchmodes.results.records import Agreement, Exactness

CASE = "inference/cpu/{}/{}/fp32-b1"
BLEMISHES = {
    "a hyphen for a minus": (r"(?<![\w.,/)–-])-\d", "−1"),
    "a zero with a sign": (r"[−-]0(?:[.,]0+)?(?![\d.,])", "−0.40"),
    "a percent sign without a space": (r"\d%", "4.7 %"),
    "one of several": (
        r"(?<![\d.,])1 (?:call|step|token|run|process|block|case|minute|text|comparison)(?:s|es)\b",
        "1 call",
    ),
    "several of one": (
        r"(?<![\d.,])(?:0|[2-9]|1\d|[\d,]{2,}) (?:call|step|token|run|block|case|comparison)\b",
        "2 calls",
    ),
    "what only a program says": (r"\b(?:None|nan|inf|True|False)\b", "none"),
    "a part that is nothing": (r"\b0\sB of\b", "4 B of"),
    "two colons": (r": none:", "none: 4"),
}
"""What no page may say, and what it may."""


def text_of(page: str) -> str:
    """Return what is read of a page, its figures included; commands and files stay away."""
    page = re.sub(r"<(style|script|pre|code)\b.*?</\1>", " ", page, flags=re.DOTALL)
    page = re.sub(r"</?(?:strong|span|a)\b[^>]*>", "", page)
    return re.sub(r"[^\S\n]+", " ", html.unescape(re.sub(r"<[^>]*>", "\n", page)))


def a_page() -> str:
    """A page that has every section that made-up records can fill."""
    generation = make_record("generation/cpu/gpt2/eager/fp32-b4", item="token")
    operators = pd.DataFrame(
        [("aten::mm", 3.0, 0.003, 0.002, 5.4e8, -393_216)],
        columns=["operator", "calls", "self_cpu_s", "lean_self_s", "flops", "memory_bytes"],
    )
    peak = {"weights": 498_000_000, "activations": 0, "workspace": 0}
    stacks = "none: the engine openvino runs its operators outside Python"
    profile = a_profile()
    profiles = [
        profile,
        replace(
            profile,
            case=EAGER,
            tables={"operators": operators},
            summary={**profile.summary, "memory_peak_bytes": peak, "stacks": stacks},
        ),
    ]
    records = [
        *house_price_records(),
        generation.model_copy(update={"generation": make_generation()}),
        make_record(CASE.format("m", "eager")),
        make_record(CASE.format("m", "fx"), speed_up=1.02, noise=0.3, blocks=20),
    ]
    return render_report(
        make_report_data(
            records,
            trainings=[make_training("eager"), make_training("fx")],
            profiles=profiles,
            roofline=ROOFLINE,
            diffs=[CHANGE],
        )
    )


def test_no_page_has_a_blemish() -> None:
    text = text_of(a_page())
    for name, (pattern, _) in BLEMISHES.items():
        found = re.search(pattern, text)
        assert found is None, f"{name}: {text[found.start() - 60 : found.end() + 30]}"


@pytest.mark.parametrize(
    ("name", "blemish"),
    [
        ("a hyphen for a minus", "holds -393 kB"),
        ("a zero with a sign", "at most −0 %"),
        ("a zero with a sign", "gained −0.00 s"),
        ("a percent sign without a space", "88% of the step"),
        ("one of several", "(1 calls of each side)"),
        ("several of one", "11 call of each"),
        ("what only a program says", "takes None"),
        ("a part that is nothing", "0 B of workspace"),
        ("two colons", "Flame graph: none: the engine"),
    ],
)
def test_a_blemish_would_be_found(name: str, blemish: str) -> None:
    pattern, fine = BLEMISHES[name]
    assert re.search(pattern, blemish)
    assert not re.search(pattern, fine)


def spaced(text: str | None) -> str:
    return (text or "").replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_quantities_of_a_profile_have_their_signs_and_units() -> None:
    assert spaced(formatting.cell("memory_bytes", -393_216)) == "−393 kB"
    assert spaced(formatting.cell("flops", 10_871_635_968)) == "10.9 GFLOP"
    assert spaced(formatting.cell("flops", 0)) == "0 FLOP"


def judged(**more: object) -> JudgedRecord:
    record = make_record(CASE.format("m", "fx"), speed_up=1.3).model_copy(update=more)
    return judge([make_record(CASE.format("m", "eager")), record])[1]


def test_an_error_a_little_above_eagers_is_not_called_twice_as_large() -> None:
    said = spaced(sentences.exactness(judged(exactness=Exactness(eager=6.7e-7, mode=7.9e-7))))
    assert said == "1.2 times eager's error: relative error 7.9e-07, eager 6.7e-07"


def test_a_share_of_few_decisions_is_a_number_of_them() -> None:
    found = Agreement(
        decisions=10,
        input_sets=2,
        top1=0.9,
        flips_by_lead=(0.4, 0, 0, 0),
        kl_divergence=0.0012,
        random_weights=False,
    )
    said = sentences.agreement(judged(agreement=found)) or ""
    assert said.startswith("eager's first choice in 9 of 10 decisions;")


def test_the_floor_is_told_once_where_it_is_what_a_claim_exceeds() -> None:
    def noise(floor: float) -> str:
        records = [
            make_record(CASE.format("m", mode), speed_up=s, noise_floor=floor)
            for mode, s in (("eager", 1.0), ("fx", 1.3))
        ]
        (group,) = group_cases(judge(records))
        return spaced(sentences.noise(group))

    assert noise(0.047).endswith("favour a side by up to 4.7 %; a claim has to exceed that.")
    assert noise(0.002).endswith("favour a side by up to 0.20 %; a claim has to exceed 1.0 %.")


def test_memory_is_that_of_a_cold_start_and_of_a_warm_one() -> None:
    runs = [
        make_record(CASE.format("m", "openvino"), speed_up=2.0, peak_host_bytes=size, seed=seed)
        for seed, size in enumerate((1_470_000_000, 544_000_000, 540_000_000))
    ]
    (one,) = judge([combine(runs)])
    assert spaced(sentences.memory(one)) == (
        "1.47 GB above the process's start, at the peak, preparing included; 544 MB of a warm start"
    )
    page = render_report(make_report_data([combine(runs)]))
    cost = page[page.index('<section id="cost"') :]
    assert "544\N{NARROW NO-BREAK SPACE}MB" in cost
    (alone,) = judge(runs[:1])
    assert spaced(sentences.memory(alone)).endswith("preparing included"), "one run: no warm start"


def test_a_claim_that_does_not_stand_among_all_is_told_to_be_one_that_would_by_itself() -> None:
    case = "training/cpu/house_price/{}/fp32-b2048"
    records = [make_record(case.format("fx"), speed_up=1.02, noise=0.028, seed=3)]
    records += [make_record(case.format(f"same-{i}"), seed=10 + i) for i in range(40)]
    data = make_report_data([make_record(case.format("eager")), *records])
    found = next(one for one in unresolved(data) if one.case.name == "fx")
    assert found.case.withdrawn
    assert found.meaning.startswith("faster by itself, but not among 41 comparisons; ")
    (group,) = group_cases(data.cases)
    assert "fx is unresolved (alone: faster), 1.0" in sentences.reason(recommend(group))
    assert "Alone: what its interval says by itself" in text_of(render_report(data))


def test_reach_has_the_digits_of_the_speed_ups_and_no_more() -> None:
    records = [
        make_record(CASE.format(model, "fx"), speed_up=s, noise=0.2, blocks=30, seed=seed)
        for seed, (model, s) in enumerate({"gpt2": 1.7512, "resnet50": 3.1411}.items())
    ]
    data = make_report_data(records)
    ((finding,),) = (found.findings for found in advice_by_hardware(data))
    told = [formatting.estimate(judged.record.statistics.speed_up) for judged in data.cases]
    assert finding.reach == "–".join(told)


def test_it_is_comparisons_that_are_unresolved() -> None:
    data = make_report_data([make_record(CASE.format("m", "fx"), speed_up=1.02, noise=0.3)])
    assert (headline(unresolved(data)) or "").startswith("1 comparison unresolved;")
