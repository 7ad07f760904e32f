"""Two runs compared: what is said to have changed, what is not, and with which exit code."""

from __future__ import annotations

import copy
import io
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from record_factory import ENVIRONMENT, house_price_records, make_record
from rich.console import Console

from torchmodes.measure.combine import combine
from torchmodes.measure.statistics import effect
from torchmodes.planning.cases import parse_case
from torchmodes.report.comparison import sentences
from torchmodes.report.comparison.__main__ import exit_code, main
from torchmodes.report.comparison.changes import Comparison, compare
from torchmodes.report.comparison.effects import case_effect, floor_of_two
from torchmodes.report.comparison.figures import draw_history
from torchmodes.report.comparison.pages import render_brief, render_comparison, render_markdown
from torchmodes.report.comparison.runs import ComparedRun, load_compared_run
from torchmodes.report.formatting import ratio_range
from torchmodes.report.terminal import TerminalMarkdown
from torchmodes.results.records import Block, Interval, Record, write_record

ROOT = Path(__file__).parents[2]
CASE = "training/cpu/house_price/{}/fp32-b2048"


def run_of(records: Iterable[Record], name: str = "run") -> ComparedRun:
    return ComparedRun(name, {record.identity: record for record in records})


def again(seed: int, **speed_ups: float) -> ComparedRun:
    """Another run of the same cases: other samples, and these true speed-ups."""
    truth = {"eager": 1.0, "inductor": 1.2, "fx": 1.0} | speed_ups
    return run_of(
        later(make_record(CASE.format(mode), speed_up=s, blocks=150, seed=100 * seed + i), seed)
        for i, (mode, s) in enumerate(truth.items())
    )


def later(record: Record, day: int, **run: str) -> Record:
    """The same as on another day of that month."""
    moment = f"2026-03-{day + 1:02}T12:00:00+00:00"
    times = {"started_at": moment, "finished_at": moment}
    return record.model_copy(update={"run": record.run.model_copy(update=times | run)})


def slowed(record: Record, factor: float = 1.2, *, sides: str = "B") -> Record:
    """The same measurement with samples (of the mode, not of eager) that much longer."""
    assert record.samples is not None
    blocks = [
        block.model_copy(
            update={
                "seconds": tuple(
                    s * factor if side in sides else s
                    for side, s in zip(block.order, block.seconds, strict=True)
                )
            }
        )
        for block in record.samples.blocks
    ]
    return record.model_copy(
        update={"samples": record.samples.model_copy(update={"blocks": blocks})}
    )


def elsewhere() -> dict:
    environment = copy.deepcopy(ENVIRONMENT)
    environment["machine"] |= {"host": "bench-2", "cpu": "Other CPU"}
    environment["versions"]["torch"] = "2.15.0"
    return environment


def outcomes(comparison: Comparison) -> dict[str, str]:
    return {change.name: change.outcome for change in comparison.changes}


def printed(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(TerminalMarkdown(render_brief(comparison)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_against_itself_changed_nowhere() -> None:
    run = run_of(house_price_records())
    comparison = compare(run, run)
    assert set(outcomes(comparison).values()) == {"same"}
    assert exit_code(comparison) == 0
    assert sentences.headline(comparison) == "Nothing changed"
    assert "one measurement" in render_markdown(comparison)


@pytest.mark.parametrize("mode", [record.case.mode for record in house_price_records()])
def test_one_case_slowed_by_a_fifth_is_slower_and_no_other(mode: str) -> None:
    records = house_price_records()
    changed = [slowed(r) if r.case.mode == mode else r for r in records]
    comparison = compare(run_of(records), run_of(changed))
    assert outcomes(comparison) == {
        r.case.mode: "slower" if r.case.mode == mode else "same" for r in records
    }
    assert exit_code(comparison) == 1
    assert exit_code(compare(run_of(changed), run_of(records))) == 0
    assert "1 slower, of 6 cases" in printed(comparison)


def test_a_job_in_which_eager_was_slowed_as_well_is_no_slower_mode() -> None:
    records = house_price_records()
    changed = [slowed(r, sides="AB") if r.case.mode == "fx" else r for r in records]
    comparison = compare(run_of(records), run_of(changed))
    assert set(outcomes(comparison).values()) == {"same"}
    told = {change.name: sentences.notes(change) for change in comparison.changes}
    assert "took 1.20× as long, but so did eager beside it (1.20×)" in told["fx"]
    assert "as long" not in told["inductor"]


def test_another_run_of_the_same_shows_what_changed_and_makes_up_nothing() -> None:
    changed = compare(again(1), again(2, inductor=1.1, fx=1.08))
    assert outcomes(changed) == {"eager": "same", "inductor": "slower", "fx": "faster"}
    told = [
        outcome
        for seed in range(3, 13)
        for outcome in outcomes(compare(again(1), again(seed))).values()
    ]
    assert set(told) <= {"same", "unresolved"}


def test_a_slower_machine_makes_no_mode_slower_but_eagers_own_line_tells() -> None:
    there = run_of(house_price_records())
    here = run_of(
        later(make_record(r.identity, baseline_s=14e-3, speed_up=s, blocks=150, seed=40 + i), 3)
        for i, (r, s) in enumerate(
            zip(there.records.values(), (1, 1.1, 1.21, 1, 0.93, 1), strict=True)
        )
    )
    comparison = compare(there, here)
    assert not comparison.with_outcome("slower", "faster")
    (eager,) = comparison.eager
    assert eager.verdict == "slower"
    assert eager.speed.estimate == pytest.approx(0.5, rel=0.1)
    assert "which two runs cannot tell apart" in sentences.eager(eager)
    assert exit_code(comparison) == 0
    assert exit_code(comparison, count_eager=True) == 1


def test_different_machines_are_told_before_anything_else() -> None:
    here = [
        make_record(r.identity, environment=elsewhere(), seed=90) for r in house_price_records()
    ]
    comparison = compare(run_of(house_price_records()), run_of(here))
    assert not comparison.same_machine
    titles = [difference.title for difference in comparison.differences]
    assert titles == ["host", "cpu", "torch"]
    for text in (render_markdown(comparison), render_comparison(comparison), printed(comparison)):
        assert 0 < text.index("Different machines") < text.index("torchscript")
    same = compare(run_of(house_price_records()), run_of(house_price_records()))
    assert "Different machines" not in render_comparison(same)
    assert "nothing" in render_markdown(same).lower()


def test_what_ran_before_and_does_not_now_is_worse() -> None:
    there = run_of([make_record(CASE.format(m)) for m in ("eager", "a", "b", "c", "d")])
    here = run_of(
        [
            make_record(CASE.format("eager")),
            make_record(CASE.format("a"), status="failed"),
            make_record(CASE.format("b"), status="wrong"),
            make_record(CASE.format("c"), status="unsupported"),
            make_record(CASE.format("d"), no_effect="0 graphs"),
        ]
    )
    lost = compare(there, here)
    assert outcomes(lost) == {"eager": "same", **dict.fromkeys("abcd", "lost")}
    assert exit_code(lost) == 1
    assert "there ok, here wrong" in render_markdown(lost)
    assert "here without effect" in render_markdown(lost)
    gained = compare(here, there)
    assert outcomes(gained)["a"] == "gained"
    assert exit_code(gained) == 0
    assert outcomes(compare(here, here))["a"] == "neither"


def test_cases_of_one_run_alone_are_listed_and_compared_with_nothing() -> None:
    eager = make_record(CASE.format("eager"))
    there = run_of([eager, make_record(CASE.format("old"))])
    here = run_of([eager, make_record(CASE.format("new"))])
    comparison = compare(there, here)
    assert [case.mode for case in comparison.only_base] == ["old"]
    assert [case.mode for case in comparison.only_this] == ["new"]
    assert "## Only there" in render_markdown(comparison)
    assert exit_code(comparison) == 0


def runs_of_a_case(mode: str, *speed_ups: float, day: int) -> Record:
    return combine(
        [
            later(make_record(CASE.format(mode), speed_up=s, noise=0.002, seed=10 * day + i), day)
            for i, s in enumerate(speed_ups)
        ]
    )


def test_what_differs_between_processes_is_no_change() -> None:
    """Each run of the case says faster with certainty; the runs of one day differ by as much."""
    there = run_of([runs_of_a_case("fx", 1.05, 1.20, 1.37, day=1)])
    here = run_of([runs_of_a_case("fx", 1.15, 1.32, 1.50, day=2)])
    assert outcomes(compare(there, here))["fx"] == "unresolved"


def test_runs_that_agree_show_a_change() -> None:
    there = run_of([runs_of_a_case("fx", 1.00, 1.01, 1.02, day=1)])
    here = run_of([runs_of_a_case("fx", 1.30, 1.31, 1.32, day=2)])
    assert outcomes(compare(there, here))["fx"] == "faster"


def test_a_change_that_stands_alone_is_withdrawn_among_many() -> None:
    def run(day: int, *, among: int, speed_up: float) -> ComparedRun:
        modes = {"eager": 1.0, "fx": speed_up} | {f"same-{i}": 1.0 for i in range(among)}
        return run_of(
            later(make_record(CASE.format(m), speed_up=s, noise=0.028, seed=100 * day + i), day)
            for i, (m, s) in enumerate(modes.items())
        )

    alone = compare(run(1, among=0, speed_up=1.0), run(2, among=0, speed_up=0.96))
    among = compare(run(1, among=40, speed_up=1.0), run(2, among=40, speed_up=0.96))
    assert outcomes(alone)["fx"] == "slower"
    assert outcomes(among)["fx"] == "unresolved"


def test_the_difference_of_two_effects_is_yuens() -> None:
    random = np.random.default_rng(4)
    one, other = effect(random.normal(0.1, 0.02, 50)), effect(random.normal(0.0, 0.05, 20))
    found = one.against(other)
    assert one.standard_error is not None
    assert other.standard_error is not None
    assert one.degrees_of_freedom is not None
    assert other.degrees_of_freedom is not None
    assert found.centre == pytest.approx(one.centre - other.centre)
    variances = one.standard_error**2, other.standard_error**2
    assert found.standard_error == pytest.approx(math.sqrt(sum(variances)))
    freedom = sum(variances) ** 2 / (
        variances[0] ** 2 / one.degrees_of_freedom + variances[1] ** 2 / other.degrees_of_freedom
    )
    assert found.degrees_of_freedom == pytest.approx(freedom)


def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        one = effect(math.log(1.2) + 0.05 * random.standard_t(3, 30))
        other = effect(math.log(1.1) + 0.02 * random.standard_normal(60))
        found = one.against(other)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= math.log(1.2 / 1.1) <= found.high
    assert 0.94 <= held / 600 <= 0.99


def test_the_floors_of_two_runs_add_in_quadrature() -> None:
    assert floor_of_two(0.03, 0.04) == pytest.approx(0.05)
    assert floor_of_two(None, 0.04) == pytest.approx(0.04)


@pytest.mark.parametrize("blocks", [1, 2])
def test_hopelessly_few_blocks_give_an_open_interval_and_no_claim(blocks: int) -> None:
    there, here = (
        run_of(
            later(make_record(CASE.format(mode), blocks=blocks, noise=5.0, seed=seed + day), day)
            for seed, mode in ((10, "eager"), (30, "fx"))
        )
        for day in (1, 2)
    )
    comparison = compare(there, here)
    assert set(outcomes(comparison).values()) == {"unresolved"}
    assert render_comparison(comparison).count("unresolved") >= 2
    assert exit_code(comparison, count_eager=True) == 0


def test_a_bound_that_no_float_holds_is_open() -> None:
    found = effect([-400.0, 400.0]).against(effect([-300.0, 310.0]))
    assert found.ratio.high is None
    assert found.ratio.low < 1e-300
    assert found.half_width is None
    assert ratio_range(found.ratio) == "too noisy to say"
    assert ratio_range(Interval(estimate=1.0, low=1e-9, high=2.7e72)) == "too noisy to say"


def test_a_run_beside_other_programs_is_no_evidence_of_a_change() -> None:
    there, busy = again(1), again(2, inductor=0.5)
    doubted = {"no_verdict": "other programs kept 1.0 of 2 cores busy", "verdict": "unresolved"}
    here = run_of(record.model_copy(update=doubted) for record in busy.records.values())
    assert outcomes(compare(there, busy))["inductor"] == "slower"
    comparison = compare(there, here)
    assert set(outcomes(comparison).values()) == {"unresolved"}
    assert comparison.eager == ()
    assert "no verdict here: other programs kept" in sentences.notes(comparison.changes[0])
    assert exit_code(comparison, count_eager=True) == 0


def test_a_block_that_was_interrupted_changes_nothing() -> None:
    (record,) = (make_record(CASE.format("fx"), blocks=40),)
    stopped = Block(order="ABBA", seconds=(20.0, 1.0, 1.0, 1.0), at_s=9.0, interrupted=True)
    samples = record.samples.model_copy(update={"blocks": [*record.samples.blocks, stopped]})
    assert case_effect(record.model_copy(update={"samples": samples})) == case_effect(record)


def test_other_parameters_are_told() -> None:
    record = make_record(CASE.format("eager"))
    parameters = copy.deepcopy(record.parameters) | {"seed": 7}
    changed = record.model_copy(update={"parameters": parameters})
    (change,) = compare(run_of([record]), run_of([changed])).changes
    assert change.parameters == ("seed",)
    assert "configured differently: seed" in sentences.notes(change)


def test_the_smallest_effect_can_be_given() -> None:
    wide = compare(again(1), again(2, inductor=1.1), minimum_effect=0.2)
    assert outcomes(wide)["inductor"] == "unresolved"


def on_day(run: ComparedRun, day: int) -> ComparedRun:
    finished = f"2026-03-{day:02}T12:00:20+00:00"
    records = {
        case: record.model_copy(
            update={"run": record.run.model_copy(update={"finished_at": finished})}
        )
        for case, record in run.records.items()
    }
    return replace(run, records=records)


def test_the_history_has_a_trend_for_each_case_that_stands_in_two_runs() -> None:
    runs = [on_day(again(1), 1), on_day(again(2), 3), on_day(again(3, inductor=1.4), 9)]
    figure = draw_history(runs)
    assert figure is not None
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["fx", "inductor"]
    dates = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert dates == ["2026-03-01\n12:00", "2026-03-03\n12:00", "2026-03-09\n12:00"]
    for axes, mode in zip(figure.axes, ("fx", "inductor"), strict=True):
        case = parse_case(CASE.format(mode))
        estimates = [run.records[case].statistics.speed_up for run in runs]
        (intervals,), (trend, _) = axes.collections, axes.lines
        assert list(trend.get_ydata()) == pytest.approx([one.estimate for one in estimates])
        ends = [(low, high) for (_, low), (_, high) in intervals.get_segments()]
        assert all(
            low < one.estimate < high for (low, high), one in zip(ends, estimates, strict=True)
        )
    for some in (runs, runs[:2]):
        page = render_comparison(compare(some[0], some[-1]), history=some)
        assert "Speed-ups from run to run" in page
    assert "Speed-ups from run to run" not in render_comparison(compare(runs[0], runs[2]))
    assert draw_history([again(1), run_of([make_record(CASE.format("eager"))])]) is None


def test_messages_are_escaped() -> None:
    hostile = "<script>alert(1)</script> | x\ny"
    there = run_of([make_record(CASE.format("fx"))], hostile)
    here = run_of([make_record(CASE.format("fx"), status="failed", reason=hostile)])
    comparison = compare(there, here)
    assert "<script>alert" not in render_comparison(comparison)
    assert "<script>" not in render_markdown(comparison)
    assert "alert(1)" in printed(comparison)


def write_run(folder: Path, records: Iterable[Record]) -> Path:
    for record in records:
        write_record(record, folder / record.identity.record)
    return folder


def test_the_command_writes_both_pages_and_ends_with_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = house_price_records()
    there = write_run(tmp_path / "there", records)
    here = write_run(tmp_path / "here", [*map(slowed, records[1:2]), records[0], *records[2:]])
    pages = ["--html", str(tmp_path / "c.html"), "--markdown", str(tmp_path / "c.md")]
    assert main([str(there), "--this", str(there / "results"), *pages]) == 0
    assert main([str(there), "--this", str(here), *pages]) == 1
    two = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Speed-ups from run to run" in two
    assert "Runs in the chart" not in two, "they are named above"
    assert main([str(there), str(here), "--this", str(there), *pages]) == 0
    assert "Runs in the chart" in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert main([str(there), "--this", str(here), *pages]) == 1
    assert "inductor" in capsys.readouterr().out
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "▼ slower" in (tmp_path / "c.md").read_text(encoding="utf-8")


def test_what_cannot_be_compared_ends_with_2_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(write_run(tmp_path / "good", [make_record(CASE.format("eager"))]))
    other = write_run(tmp_path / "other", [make_record(CASE.format("fx"))])
    corrupt = write_run(tmp_path / "corrupt", [make_record(CASE.format("eager"))])
    next(corrupt.rglob("*.json")).write_text("{")
    (tmp_path / "empty").mkdir()
    diff = tmp_path / "profiled/results/profile/diff/m-eager-fp32-b1--vs--m-fx-fp32-b1.json"
    diff.parent.mkdir(parents=True)
    diff.write_text("{}")
    for base, why in (
        ("nowhere", "no such folder"),
        ("empty", "no record"),
        ("profiled/results", "is no results folder: no record"),
        ("corrupt", "not a valid record"),
        ("other", "no case in common"),
    ):
        assert main([str(tmp_path / base), "--this", good]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert load_compared_run(other).title == f"{other} (01234567, 2026-03-01)"


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def put_half(path: Path) -> None:
    path.write_text(path.read_text()[:400])


@pytest.mark.parametrize("put", [put_folder, put_loop, put_half])
@pytest.mark.parametrize("side", ["there", "here"])
def test_a_record_that_cannot_be_read_ends_with_2_and_the_others_are_compared(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    put: Callable[[Path], None],
    side: str,
) -> None:
    records = house_price_records()[:3]
    for name in ("there", "here"):
        write_run(tmp_path / name, records)
    broken = tmp_path / side / records[1].identity.record
    put(broken)
    pages = ["--html", str(tmp_path / "c.html"), "--markdown", str(tmp_path / "c.md")]
    assert main([str(tmp_path / "there"), "--this", str(tmp_path / "here"), *pages]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"not all is compared, for want of 1 record: {broken} ")
    page, text = ((tmp_path / name).read_text(encoding="utf-8") for name in ("c.html", "c.md"))
    for written in (page, text):
        assert "2 cases in both runs" in written
        assert "Not compared" in written
        assert str(broken) in written
        assert "Only" not in written


def test_pages_that_cannot_be_written_end_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = write_run(tmp_path / "there", house_price_records()[:2])
    (tmp_path / "file").write_text("")
    pages = ["--html", f"{tmp_path}/file/c.html", "--markdown", str(tmp_path / "c.md")]
    assert main([str(there), "--this", str(there), *pages]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"cannot write {tmp_path}/file/c.html and {tmp_path}/c.md: ")


def test_an_error_that_nobody_thought_of_does_not_end_as_a_slower_case_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("odd")

    there = str(write_run(tmp_path / "there", house_price_records()[:2]))
    monkeypatch.setattr("torchmodes.report.comparison.__main__.render_brief", fail)
    assert main([there, "--this", there]) == 2
    assert "ZeroDivisionError: odd" in capsys.readouterr().err


def test_a_reader_who_has_gone_changes_no_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make compare … | head -3`: Rich would end it with 1, and 1 means slower."""
    there = str(write_run(tmp_path / "there", house_price_records()[:2]))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        pages = ["--html", str(tmp_path / "c.html"), "--markdown", str(tmp_path / "c.md")]
        assert main([there, "--this", there, *pages]) == 0
    assert (tmp_path / "c.html").exists()


def test_records_are_looked_for_where_they_lie_and_nowhere_else(tmp_path: Path) -> None:
    run = write_run(tmp_path / "somebody's/old run", house_price_records()[:2])
    for folder in (run, run / "results", run / "results/benchmark"):
        assert len(load_compared_run(folder).records) == 2
    with pytest.raises(ValueError, match="is no results folder") as raised:
        load_compared_run(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_record_with_a_senseless_smallest_effect_is_compared() -> None:
    for value in (-5, 10**400, "much"):
        record = make_record(CASE.format("fx")).model_copy(
            update={"parameters": {"measurement": {"minimum_effect": value}}}
        )
        assert outcomes(compare(run_of([record]), run_of([record]))) == {"fx": "same"}


@pytest.mark.parametrize("base", ["other/results", "two words", "$$HOME; it's `here`", "/"])
def test_make_hands_the_other_run_over_as_one_word(base: str) -> None:
    command = [
        "make",
        "--no-print-directory",
        "--dry-run",
        "--old-file",
        ".venv/ready",
        "compare",
        f"BASE={base}",
    ]
    asked = [*command, "ARGS=--count-eager --minimum-effect 0.03", "PYTHON=no such", "CORES=2"]
    ran = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    words = shlex.split(ran.stdout.splitlines()[-1])
    assert words[1:] == [
        *("-m", "torchmodes.report.comparison", base.replace("$$", "$")),
        *("--count-eager", "--minimum-effect", "0.03"),
    ]
