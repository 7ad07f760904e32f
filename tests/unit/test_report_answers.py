"""The answer first: one table for every group; what an unresolved comparison leaves open."""

from __future__ import annotations

import io
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from profile_factory import EAGER, OPERATORS, a_profile
from record_factory import house_price_records, make_record
from rich.console import Console

from tools.answers import README, with_answers
from torchmodes.measure.combine import combine
from torchmodes.planning.cases import parse_case
from torchmodes.report.answer_table import HEADS, answer_table
from torchmodes.report.case_tables import cost_columns, speed_columns, telling
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.figures.step_parts import step_bars
from torchmodes.report.figures.trade_off import MEMORY, START, draw_trade_off, front
from torchmodes.report.html import render_report
from torchmodes.report.markdown import render_answers
from torchmodes.report.problems import by_reason, problems
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.report.sections import case_warnings, warnings_of
from torchmodes.report.terminal import print_summary
from torchmodes.report.unresolved import headline, more_runs, unresolved
from torchmodes.report.why import explained_diff
from torchmodes.results.records import Interval, Record

CASE = "inference/cpu/{}/{}/fp32-b1"
SPACE = "\N{NARROW NO-BREAK SPACE}"


def in_runs(model: str, mode: str, *speed_ups: float, precision: str = "fp32") -> Record:
    """A case measured in a process for each speed-up."""
    case = CASE.format(model, mode).replace("fp32", precision)
    return combine(
        [
            make_record(
                case,
                speed_up=s,
                noise=0.002,
                seed=i + 10 * len(mode),
                item="image",
                first_call_s=9.0 / (1 + i),
            )
            for i, s in enumerate(speed_ups)
        ]
    )


def run() -> ReportData:
    return make_report_data(
        [
            in_runs("resnet50", "eager", 1.0, 1.001, 0.999),
            in_runs("resnet50", "onnxruntime", 1.62, 1.65, 1.68),
            in_runs("resnet50", "inductor", 0.99, 1.06, 1.03),
            in_runs("gpt2", "eager", 1.0, 1.002, 0.998),
            in_runs("gpt2", "inductor", 0.97, 0.99, 0.985),
            in_runs("gpt2", "trace", 1.0, 1.12, 1.03),
        ]
    )


def cells(data: ReportData) -> dict[str, dict[str, str]]:
    table = answer_table(data)
    rows = [dict(zip(table.heads, row.cells, strict=True)) for row in table.rows]
    return {row["one call of"].splitlines()[0].rstrip(","): row for row in rows}


def test_every_group_has_its_answer_in_one_row() -> None:
    found = cells(run())
    assert found["resnet50"]["one call of"] == "resnet50,\n1 image"
    assert found["resnet50"]["ship"] == "onnxruntime"
    assert re.fullmatch(r"1\.6\d?× \(1\.\d+ to 1\.\d+\)", found["resnet50"][HEADS[2]])
    before, after = found["resnet50"]["before → after"].split(" → ")
    assert float(before.split(SPACE)[0]) > 1.5 * float(after.split(SPACE)[0])
    assert found["resnet50"]["start, cold / warm"] == f"9.30{SPACE}s / 4.05{SPACE}s"
    assert found["resnet50"]["right?"] == "yes, off by 3.1e-07"
    assert found["gpt2"]["ship"] == "eager, for now"
    assert re.fullmatch(r"at most 1\.\d+×", found["gpt2"][HEADS[2]]), "no mode gains more"


def test_the_answer_follows_the_records() -> None:
    swapped = make_report_data(
        [
            in_runs("resnet50", "eager", 1.0, 1.001, 0.999),
            in_runs("resnet50", "onnxruntime", 0.99, 1.06, 1.03),
            in_runs("resnet50", "inductor", 1.62, 1.65, 1.68),
        ]
    )
    assert cells(swapped)["resnet50"]["ship"] == "inductor"


def test_what_got_no_verdict_is_next_best_only_without_another_and_has_no_figure() -> None:
    doubt = {"verdict": "unresolved", "no_verdict": "it was busy", "remedy": "wait"}
    busy = in_runs("gpt2", "busy", 66.0, 66.1, 65.9).model_copy(update=doubt)
    eager, slow = in_runs("gpt2", "eager", 1.0, 1.0, 1.0), in_runs("gpt2", "slow", 0.5, 0.5, 0.5)
    alone, beside = (
        cells(make_report_data([eager, *others]))["gpt2"] for others in ([busy], [busy, slow])
    )
    assert alone["next best"] == "busy\nunresolved"
    assert beside["next best"] == "slow\n0.500× slower"


def test_int8_on_random_weights_is_said_to_be_right_on_those() -> None:
    def told(weights: str, precision: str) -> str:
        record = in_runs("bert", "quantized", 2.0, 2.01, 1.99, precision=precision)
        model = {"model": {"family": "transformers", "weights": weights}}
        data = make_report_data([record.model_copy(update={"parameters": model})])
        return cells(data)["bert"]["right?"]

    assert told("random", "int8") == "yes, off by 3.1e-07\non random weights"
    assert told("pretrained", "int8") == told("random", "fp32") == "yes, off by 3.1e-07"


def test_what_is_unresolved_is_told_by_what_it_rules_out() -> None:
    found = {one.case.case.mode: one for one in unresolved(run())}
    beaten = [one for one in unresolved(run()) if "cannot beat onnxruntime" in one.meaning]
    assert [one.command for one in beaten] == [None]
    still_open = found["trace"]
    assert re.fullmatch(
        rf"±[\d.]+{SPACE}% → ±[\d.]+{SPACE}%: about \d+ more runs?, \d+ minutes?",
        still_open.meaning,
    )
    minutes = still_open.meaning.split()[-2]
    case = CASE.format("gpt2", "trace")
    assert still_open.command == f"make sharpen MINUTES={minutes} CASE={case}"
    assert headline(unresolved(run())).endswith("unresolved; 1 can still change an answer.")
    assert headline([one for one in unresolved(run()) if one.command is None]).endswith(
        "unresolved; none can change an answer."
    )


def test_the_terminal_tells_what_the_next_command_needs_besides() -> None:
    def printed(arguments: str) -> str:
        console = Console(file=io.StringIO(), width=100)
        print_summary(run(), console, arguments=arguments)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    told = printed("--config 'data={\"rows\": 9}'")
    assert "make sharpen MINUTES=" in told
    needed = told.split("ARGS=")[1].splitlines()[0]
    assert shlex.split(needed) == ["--config 'data={\"rows\": 9}'"]
    assert "ARGS=" not in printed("")


@pytest.mark.parametrize(("high", "answer"), [(1.004, "eager"), (1.03, "unresolved")])
def test_a_group_in_which_nothing_can_be_faster_is_decided(high: float, answer: str) -> None:
    record = make_record(CASE.format("m", "fx"))
    statistics = record.statistics.model_copy(
        update={"speed_up": Interval(estimate=0.985, low=0.965, high=high)}
    )
    fx = record.model_copy(update={"statistics": statistics, "verdict": "unresolved"})
    data = make_report_data([make_record(CASE.format("m", "eager")), fx])
    assert [recommend(group).answer for group in group_cases(data.cases)] == [answer]
    (one,) = unresolved(data)
    assert one.meaning.startswith("no gain: at most +0.40") == (answer == "eager")


def test_on_a_machine_where_eager_is_far_from_itself_nothing_is_ruled_out() -> None:
    record = make_record(CASE.format("m", "fx"))
    statistics = record.statistics.model_copy(
        update={"speed_up": Interval(estimate=3.0, low=2.0, high=4.5), "margin": 3.5}
    )
    fx = record.model_copy(update={"statistics": statistics, "verdict": "unresolved"})
    (one,) = unresolved(make_report_data([make_record(CASE.format("m", "eager")), fx]))
    assert one.meaning == f"eager against itself is up to 350{SPACE}% off: nothing can be told"
    assert one.command == "measure again on a machine that does nothing else"


def test_runs_that_are_far_apart_say_nothing_yet() -> None:
    record = in_runs("m", "fx", 0.01, 1.0, 900.0)
    (one,) = unresolved(make_report_data([make_record(CASE.format("m", "eager")), record]))
    assert re.fullmatch(
        rf"±[\d,]+{SPACE}%: its runs are too far apart to say anything yet", one.meaning
    )
    assert one.command == "measure again on a machine that does nothing else"


def test_more_runs_shrink_the_interval_as_its_root_and_students_t_say() -> None:
    wide = in_runs("m", "fx", 0.90, 1.10, 1.30)
    (judged,) = make_report_data([wide]).cases
    needed = more_runs(judged, None, comparisons=1)
    assert needed is not None
    assert needed.half_width is not None
    now = judged.record.statistics
    assert needed.half_width < now.half_width
    assert needed.half_width > now.half_width * (3 / (3 + needed.count)) ** 0.5 / 3
    assert needed.seconds == pytest.approx(needed.count * (20.0 + 1.8))
    fewer = more_runs(judged, None, comparisons=50)
    assert fewer is None or fewer.count > needed.count, "among more comparisons it takes more"


def test_one_process_has_no_interval_and_two_more_give_one() -> None:
    (judged,) = make_report_data([make_record(CASE.format("m", "fx"))]).cases
    needed = more_runs(judged, None, comparisons=1)
    assert needed is not None
    assert (needed.count, needed.half_width) == (2, None)


def test_reasons_and_warnings_are_told_once() -> None:
    records = [
        make_record(CASE.format(model, "fx"), status="unsupported", reason="no", remedy="other")
        for model in ("a", "b", "c")
    ]
    records += [
        make_record(CASE.format(model, "eager"), warnings=[f"run 2 waited {s} s"])
        for model, s in (("a", 0.5), ("b", 12.0))
    ]
    data = make_report_data(records)
    (same,) = by_reason(problems(data))
    assert [problem.case for problem in same] == [CASE.format(m, "fx") for m in "abc"]
    assert case_warnings(data) == [
        ("run 2 waited 0.5 to 12.0 s", [CASE.format(m, "eager") for m in "ab"])
    ]


def test_columns_that_say_nothing_are_left_out() -> None:
    cases = make_report_data(house_price_records()).cases
    heads = [column.head for column in telling(speed_columns(), cases)]
    assert heads[0] == "Speed-up"
    assert "Processes" not in heads, "one each"
    assert "Energy an item" not in [c.head for c in telling(cost_columns(run()), cases)]


def test_readme_has_the_columns_of_the_report(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    head = re.search(r"<!-- answers: .*-->\n\| (.*) \|", text)
    assert head is not None, "README.md has no place for the answers"
    columns = head[1].split(" | ")
    assert columns == [name for name in HEADS if name in columns]
    assert columns[:3] == [*HEADS[:3]]
    renewed = with_answers(text, render_answers(run()))
    assert "| resnet50, 1 image | onnxruntime | 1." in renewed
    assert renewed.count("<!-- end of answers -->") == 1
    with pytest.raises(ValueError, match="end of answers"):
        with_answers("no table", "")


DIFF = {
    "status": "ok",
    "a": {"case": "inference/cpu/resnet50/eager/fp32-b1"},
    "b": {"case": "inference/cpu/resnet50/onnxruntime/fp32-b1"},
    "sentence": "By the profiler it is slower.",
    "account": [
        {
            "name": n,
            "kind": k,
            "calls_a": 1.0,
            "calls_b": 1.0,
            "a_s": a,
            "b_s": b,
            "gained_s": a - b,
        }
        for n, k, a, b in (
            ("aten::mm", "operator", 0.008, 0.010),
            ("(Python and gaps)", "uncovered", 0.002, 0.001),
        )
    ],
}
"""Under the profiler the second takes longer; measured, it is 1.65 times as fast."""


def test_a_diff_adds_up_to_what_was_measured_whatever_the_profiler_did() -> None:
    data = run()
    told = explained_diff(DIFF, data)
    judged = next(c for c in data.cases if str(c.case) == DIFF["b"]["case"])
    statistics = judged.record.statistics
    gained = statistics.baseline.median_s - statistics.candidate.median_s
    assert gained > 0
    assert sum(row["gained_s"] for row in told.rows) == pytest.approx(gained)
    assert "less than one of eager" in told.said
    assert "scaled to the measured" in told.said
    assert told.title == "resnet50 · inference · batch 1: eager → onnxruntime"
    alone = explained_diff(DIFF, make_report_data([]))
    assert alone.said.startswith("By the profiler it is slower.")


def test_a_step_is_as_long_as_measured_and_its_operators_are_grouped() -> None:
    inductor = parse_case("training/cpu/house_price/inductor/fp32-b2048")
    fused = pd.DataFrame(
        [("CompiledFxGraph", 1.0, 0.004)], columns=["operator", "calls", "lean_self_s"]
    )
    data = make_report_data(
        house_price_records(),
        profiles=[a_profile(), a_profile(case=inductor, tables={"operators": fused})],
    )
    bars = {bar.name: bar for bar in step_bars(data)[EAGER]}
    assert bars["eager"].length == 1.0
    assert bars["eager"].shares == pytest.approx(
        {"matmul": 0.375, "convolution": 0.25, "elementwise": 0.125, "other": 0.25}
    )
    assert bars["inductor"].shares == pytest.approx({"compiled": 0.75, "other": 0.25})
    judged = next(c for c in data.cases if c.case == inductor)
    assert bars["inductor"].length == 1 / judged.record.statistics.speed_up.estimate
    assert bars["inductor-step"].shipped
    assert bars["inductor-step"].shares == {}, "what is shipped stands there without a profile too"
    assert len(OPERATORS) == 3


def test_the_front_holds_what_nothing_beats_in_time_and_memory_or_start() -> None:
    records = [
        make_record(
            CASE.format("m", mode),
            speed_up=speed_up,
            peak_host_bytes=size,
            prepare_s=0.0,
            first_call_s=start_s,
            blocks=150,
        )
        for mode, speed_up, size, start_s in (
            ("eager", 1.0, 100, 0.04),
            ("small", 1.2, 150, 9.0),
            ("worse", 1.1, 200, 8.0),
            ("fast", 2.0, 300, 4.0),
        )
    ]
    cases = make_report_data(records).cases
    assert [judged.name for judged in front(cases, MEMORY)] == ["eager", "small", "fast"]
    assert [judged.name for judged in front(cases, START)] == ["eager", "fast"]


def test_names_beside_points_never_overlap() -> None:
    data = run()
    (ax, *_) = draw_trade_off(data.about(data.deployments[0])).axes
    names = [text for text in ax.texts if text.get_text()]
    heights = sorted(text.xyann[1] for text in names)
    line = 1.25 * 9 / 72 / (ax.get_position().height * ax.figure.get_size_inches()[1])
    assert len(names) == 3
    assert min(b - a for a, b in pairwise(heights)) >= line * 0.999


def test_warnings_of_runs_that_differ_in_figures_alone_are_one_in_a_card() -> None:
    slow = [f"never became steady in {seconds} s of warm-up" for seconds in (0.3, 0.5, 0.4)]
    record = make_record(CASE.format("m", "trace"), speed_up=2.0, warnings=[*slow, "hot"])
    (judged,) = make_report_data([record]).cases
    assert warnings_of(judged) == ["never became steady in 0.3 to 0.5 s of warm-up", "hot"]
    assert render_report(make_report_data([record])).count("never became steady") == 2
