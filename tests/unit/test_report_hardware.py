"""Advice by hardware: words chosen by the verdicts on each device, and by nothing else."""

from __future__ import annotations

import copy

from record_factory import ENVIRONMENT, house_price_records, make_record

from torchmodes.report.data import make_report_data
from torchmodes.report.hardware import Hardware, advice_by_hardware
from torchmodes.report.html import render_report
from torchmodes.report.markdown import render_summary
from torchmodes.results.records import Record

CASE = "inference/{}/{}/{}/fp32-b{}"


def cases(mode: str, speed_ups: dict[str, float], device: str = "cpu", **more) -> list[Record]:
    return [
        make_record(CASE.format(device, model, mode, 1), speed_up=s, blocks=150, seed=seed, **more)
        for seed, (model, s) in enumerate(speed_ups.items())
    ]


def advice(*records: list[Record]) -> list[Hardware]:
    return advice_by_hardware(make_report_data([record for some in records for record in some]))


def words_of(hardware: Hardware) -> dict[str, str]:
    return {finding.name: finding.advice for finding in hardware.findings}


def test_each_word_follows_from_what_was_measured() -> None:
    unsupported = make_record(CASE.format("cpu", "gpt2", "partly", 1), status="unsupported")
    (found,) = advice(
        cases("always", {"gpt2": 1.5, "resnet50": 1.2}),
        cases("sometimes", {"gpt2": 1.5, "resnet50": 0.8}),
        cases("never", {"gpt2": 0.9, "resnet50": 0.8}),
        cases("level", {"gpt2": 1.0, "resnet50": 1.0}, noise=0.005),
        [unsupported],
        cases("partly", {"resnet50": 1.3}),
        cases("broken", {"gpt2": 1.0, "resnet50": 1.0}, status="failed"),
    )
    assert words_of(found) == {
        "always": "use it",
        "sometimes": "measure your model: it helps some",
        "partly": "use it where it runs",
        "level": "no gain",
        "never": "avoid it",
        "broken": "not here",
    }
    assert found.groups == 2
    assert found.title == "Example CPU 3.0 GHz, 2 cores · cpu · inference"
    assert "faster wherever it ran: always and partly" in found.said
    by_name = {finding.name: finding for finding in found.findings}
    assert by_name["always"].helps == "all it was measured on"
    assert by_name["sometimes"].helps == "gpt2 (batch 1)"
    assert by_name["partly"].counts == "1 faster, 1 unsupported"
    assert by_name["broken"].reach == "—"


def test_swapped_records_swap_the_words() -> None:
    def run(one: float, other: float) -> Hardware:
        (found,) = advice(
            cases("one", {"gpt2": one, "resnet50": one}),
            cases("other", {"gpt2": other, "resnet50": other}),
        )
        return found

    first, second = run(1.4, 0.8), run(0.8, 1.4)
    assert words_of(first) == {"one": "use it", "other": "avoid it"}
    assert words_of(second) == {"other": "use it", "one": "avoid it"}
    assert (
        first.said.replace("other", "-").replace("one", "other").replace("-", "one") == second.said
    )


def test_page_and_summary_tell_it() -> None:
    records = cases("fx", {"gpt2": 1.5, "resnet50": 1.2})
    data = make_report_data(records)
    said = "Over 2 models and batch sizes, faster wherever it ran: fx."
    assert f"- Example CPU 3.0 GHz, 2 cores · cpu · inference: {said}" in render_summary(data)
    assert said in render_report(data)


def test_machines_and_devices_are_told_apart() -> None:
    elsewhere = copy.deepcopy(ENVIRONMENT)
    elsewhere["gpu"] = {"name": "NVIDIA H100"}
    speeds = {"gpt2": 1.5, "resnet50": 1.2}
    found = advice(cases("fx", speeds), cases("fx", speeds, device="cuda", environment=elsewhere))
    assert [hardware.title for hardware in found] == [
        "Example CPU 3.0 GHz, 2 cores · cpu · inference",
        "NVIDIA H100 · cuda · inference",
    ]


def test_one_group_needs_no_advice_by_hardware() -> None:
    assert advice(house_price_records()) == []
    assert advice([]) == []


def test_where_every_case_failed_nothing_is_said_of_modes() -> None:
    assert advice(cases("broken", {"gpt2": 1.0, "resnet50": 1.0}, status="failed")) == []
