"""A generation of text in a record of several runs, in the table of cases, and on the page."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from profile_factory import ROOFLINE
from record_factory import make_generation, make_record

from torchmodes.measure.combine import combine
from torchmodes.measure.latency import latency
from torchmodes.report.data import make_report_data
from torchmodes.report.html import render_report
from torchmodes.report.tables import summary_table
from torchmodes.results.records import Divergence, Interval, Record, TimedPart

CASE = "generation/cpu/gpt2/{}/fp32-b4"
APART = Divergence(prompt=2, sequence=1, token=9, expected=17, found=23, gap=1e-6, tie=True)


def timed(speed_up: float, seconds: float = 0.5) -> TimedPart:
    return TimedPart(
        speed_up=Interval(estimate=speed_up, low=speed_up * 0.99, high=speed_up * 1.01),
        log_speed_up=math.log(speed_up),
        standard_error=0.005,
        blocks=5,
        baseline=latency([seconds * speed_up] * 10),
        candidate=latency([seconds] * 10),
    )


def record(mode: str = "static", whole: float = 1.25, **more: Any) -> Record:
    told = make_generation(
        prefill=timed(1.1, 0.08),
        whole=timed(whole),
        between_tokens=latency([0.012] * 600),
        accounted=1.0,
    )
    made = make_record(CASE.format(mode), item="token", speed_up=1.2, baseline_s=0.015)
    return made.model_copy(update={"generation": told.model_copy(update=more)})


def test_the_speed_up_of_a_part_is_over_runs() -> None:
    joined = combine([record(whole=one) for one in (1.1, 1.2, 1.3)]).generation
    assert joined is not None
    assert joined.whole is not None
    told = joined.whole.speed_up
    assert told.estimate == pytest.approx((1.1 * 1.2 * 1.3) ** (1 / 3))
    assert told.low is not None
    assert told.low < 1.1, "the next process may say this too"
    assert joined.prefill is not None
    assert joined.prefill.speed_up.low is not None
    assert 1.05 < joined.prefill.speed_up.low < 1.1, "three runs that say the same"


def test_the_table_of_cases_has_the_figures_of_a_generation() -> None:
    row = summary_table([record()]).iloc[0]
    assert row["generation_new_tokens"] == 32
    assert row["generation_tokens_per_s"] == pytest.approx(64)
    assert row["generation_whole_speed_up"] == pytest.approx(1.25)
    assert row["generation_prefill_median_s"] == pytest.approx(0.08)


def page(*records: Record, **more: Any) -> str:
    data = make_report_data([make_record(CASE.format("eager"), seed=7), *records], **more)
    return render_report(data, path=Path("reports/report.html"))


def test_the_page_tells_first_token_rate_and_divergence() -> None:
    text = page(record(), record("onnxruntime", divergence=APART))
    section = section_of(text, "generation")
    for told in (
        "64 + 32",
        "80.0 ms",  # the first token
        "1.25× (1.24 to 1.26)",
        ">64.0<",  # tokens a second of one text
        ">256<",  # of the batch
        "510 MB",  # read a step
        ">100 %<",  # of a whole generation, its parts take
        "eager's, in all 12 texts",
        "eager's, but not in all 12 texts",
        "token 9 is 23 instead of 17",
        "a tie within tolerance",
        "64 + 32, static cache, compiled at 64",
    ):
        assert told in section, told
    assert "Of the bandwidth" not in section, "nobody measured it"
    assert "tokens (" in section_of(text, "cost"), "what pays back stands there alone"


def test_the_share_of_the_parts_has_its_uncertainty() -> None:
    told = section_of(page(record(accounted=0.9, accounted_half_width=0.04)), "generation")
    assert ">90 % ± 3.6 %<" in told


def section_of(page: str, name: str) -> str:
    """Return a section of a page, on one line."""
    _, _, section = page.partition(f'<section id="{name}"')
    return re.sub(r"\s", " ", section.partition("</section>")[0]).replace("&#39;", "'")


def test_no_table_of_a_generation_has_more_than_eight_columns() -> None:
    records = [
        made.model_copy(update={"generation": record(divergence=APART).generation})
        for model in ("gpt2", "pythia")
        for precision in ("fp32", "bf16")
        for batch in (1, 4)
        for mode in ("eager", "onnxruntime")
        for made in [
            make_record(f"generation/cpu/{model}/{mode}/{precision}-b{batch}", item="token")
        ]
        if mode != "eager" or precision == "fp32"
    ]
    text = render_report(make_report_data(records, roofline=ROOFLINE))
    heads = re.findall(r"<thead>(.*?)</thead>", section_of(text, "generation"))
    assert [head.count("<th ") for head in heads] == [8, 8, 8], "model, precision and batch vary"
    for told in ("First token: the prompt", "Of the bandwidth: those", "Parts of it: prompt"):
        assert told in section_of(text, "generation"), "each head is explained where it is read"


def test_the_share_of_the_bandwidth_is_that_of_the_machine() -> None:
    text = page(record(), roofline=ROOFLINE)
    assert "Of the bandwidth" in text


def test_a_run_without_generation_has_no_such_section() -> None:
    data = make_report_data([make_record("inference/cpu/gpt2/eager/fp32-b1")])
    assert 'id="generation"' not in render_report(data, path=Path("reports/report.html"))


def test_on_a_busy_machine_no_speed_up_of_a_part_is_told() -> None:
    busy = {"no_verdict": "the machine was busy", "remedy": "wait", "verdict": "unresolved"}
    text = page(record().model_copy(update=busy))
    section = section_of(text, "generation")
    assert "64 + 32" in section
    assert "1.25×" not in section
    assert "1.10×" not in section
