"""Which runs are added where an answer is open, and what looking again costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_factory import make_record
from scipy.stats import t as student

from torchmodes.config.run import Config
from torchmodes.measure.combine import combine
from torchmodes.measure.statistics import spent
from torchmodes.planning.cases import parse_case
from torchmodes.planning.plan import Plan
from torchmodes.report.verdicts import JudgedRecord, judge
from torchmodes.results.further_runs import FurtherRuns, read_further_runs, write_further_runs
from torchmodes.results.reading import CorruptFile
from torchmodes.results.records import Record
from torchmodes.sharpen.__main__ import changes, main
from torchmodes.sharpen.questions import JOB_S, ROUND_S, additions, open_questions, run_seconds

CASE = "inference/cpu/house_price/{}/fp32-b8"
EAGER = ("eager", (1.0, 1.001, 0.999))


def record(mode: str, speed_ups: tuple[float, ...], *, looks: int = 0, **update: Any) -> Record:
    """A record of a run for each speed-up."""
    runs = [
        make_record(CASE.format(mode), speed_up=speed_up, noise=0.002, seed=seed)
        for seed, speed_up in enumerate(speed_ups)
    ]
    return combine(runs, looks=looks).model_copy(update=update)


def judged(*modes: tuple[str, tuple[float, ...]], **update: Any) -> tuple[JudgedRecord, ...]:
    return judge([record(*EAGER), *(record(*mode, **update) for mode in modes)])


A_AND_B_OPEN = (("a", (1.25, 1.31, 1.37)), ("b", (1.22, 1.28, 1.36)), ("c", (0.70, 0.71, 0.72)))


def test_the_pick_and_what_it_is_not_ranked_against_are_open_and_nothing_else() -> None:
    (question,) = open_questions(judged(*A_AND_B_OPEN))
    assert question.rival is not None
    assert question.rival.name == "b"
    assert question.noisier.name in ("a", "b")
    assert 0 < question.half_width < 0.5


def test_where_nothing_is_faster_the_fastest_that_is_unresolved_is_open() -> None:
    (question,) = open_questions(judged(("a", (0.9, 1.1, 1.3)), ("b", (0.8, 1.0, 1.2))))
    assert (question.noisier.name, question.rival) == ("a", None)


def test_a_settled_answer_asks_for_no_run() -> None:
    assert open_questions(judged(("a", (1.30, 1.31, 1.32)), ("b", (1.1, 1.11, 1.12)))) == []
    assert open_questions(judged(("a", (0.80, 0.81, 0.82)))) == []


def test_what_no_run_settles_is_no_question() -> None:
    doubt = {"no_verdict": "it remembers", "remedy": "r", "doubted": True, "verdict": "unresolved"}
    assert open_questions(judged(("a", (0.9, 1.1, 1.3)), **doubt)) == []


def test_half_as_many_again_are_added_as_time_allows() -> None:
    questions = open_questions(judged(*A_AND_B_OPEN))
    each_s = run_seconds(questions[0].noisier)
    assert each_s == 20 + JOB_S
    (plenty,) = additions(questions, seconds=1e6)
    assert (plenty.runs, plenty.seconds) == (5, 2 * each_s)
    assert plenty.files[-1] == f"results/runs/{plenty.case}/5.json"
    (one,) = additions(questions, seconds=ROUND_S + 1.5 * each_s)
    assert one.runs == 4
    assert additions(questions, seconds=ROUND_S + 0.5 * each_s) == []
    (asked,) = additions(questions, seconds=1e6, runs=9)
    assert asked.runs == 9
    assert additions(questions, seconds=1e6, runs=3) == []


def test_the_end_says_what_changed() -> None:
    before = judged(*A_AND_B_OPEN)
    more = record("b", (1.22, 1.28, 1.20, 1.21, 1.22, 1.21, 1.20, 1.22), looks=1)
    after = record("a", (1.25, 1.31, 1.32, 1.31, 1.32, 1.31, 1.32, 1.31), looks=1)
    said = changes(before, judge([record(*EAGER), after, more]))
    assert f"{CASE.format('a')}: 3 → 8 runs" in said
    (was,), (now,) = ([line for line in said if word in line] for word in ("  was: ", "  now: "))
    assert "Ship a. Not ranked against b" in was
    assert "Ship a. Faster than the next best, b" in now
    assert changes(before, before)[0].startswith("No run was added")


def test_where_no_run_helps_it_is_told_what_does() -> None:
    doubt = {"verdict": "unresolved", "no_verdict": "it was busy", "remedy": "wait"}
    cases = judge([record("fx", (1.1, 1.2)).model_copy(update=doubt)])
    none, doubted = changes(cases, cases)
    assert none.startswith("No run was added")
    assert doubted.endswith("It was busy. Wait.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--minutes", "0"], "MINUTES: 0 is no time"),
        (["--minutes", "-5"], "MINUTES: -5 is no time"),
        (["--minutes", "inf"], "MINUTES: inf is no time"),
        (["--minutes", "nan"], "MINUTES: nan is no time"),
        (["--runs", "0"], "RUNS: 0 is no number of runs"),
        (["--directory", "nowhere"], "--directory: there is no folder nowhere"),
        (["--case", "resnet50"], "resnet50: not the path of a case"),
    ],
)
def test_what_cannot_be_asked_for_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.setattr("sys.argv", ["sharpen", *words])
    with pytest.raises(SystemExit, match=f"^Error: {told}"):
        main()


def test_in_another_directory_its_results_are_read_and_snakemake_starts_where_this_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, asked = [], []
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr("sys.argv", ["sharpen", "--directory", str(tmp_path), "--cores", "2"])
    monkeypatch.setattr(
        "torchmodes.sharpen.__main__.sharpen",
        lambda snakemake, **_: (there.append(Path.cwd()), asked.extend(snakemake)),
    )
    main()
    assert there == [tmp_path]
    assert asked == ["--directory", str(tmp_path), "--cores", "2"]


def test_a_claim_pays_for_further_looks() -> None:
    assert spent(0.04, looks=0) == 0.04
    assert [spent(0.01, looks=looks) for looks in (1, 2)] == [0.04, 0.08]
    assert spent(0.5, looks=3) == 1.0
    speed_ups = (1.10, 1.13, 1.16)
    once, again = record("a", speed_ups), record("a", speed_ups, looks=2)
    assert once.statistics is not None
    assert again.statistics is not None
    assert (once.verdict, again.verdict) == ("faster", "unresolved")
    assert again.statistics.p_value == pytest.approx(8 * once.statistics.p_value)
    assert again.statistics.speed_up == once.statistics.speed_up


def test_looking_until_something_is_found_finds_nothing_where_there_is_nothing() -> None:
    """Of cases without an effect, looked at with 3, 5, 8, 12 and 18 runs until one is claimed."""
    draw = np.random.default_rng(3)
    looked_at = [draw.normal(size=18) for _ in range(2000)]

    def claims(*, pay: bool) -> float:
        claimed = 0
        for runs in looked_at:
            for looks, count in enumerate((3, 5, 8, 12, 18)):
                found = runs[:count]
                value = abs(found.mean()) / (found.std(ddof=1) / np.sqrt(count))
                p_value = 2 * float(student.sf(value, count - 1))
                if spent(p_value, looks=looks if pay else 0) <= 0.05:
                    claimed += 1
                    break
        return claimed / len(looked_at)

    assert claims(pay=True) <= 0.08
    assert claims(pay=False) > 0.1


def test_what_was_asked_for_is_read_again_and_joins_the_record(tmp_path: Path) -> None:
    path, case = tmp_path / "further_runs.json", parse_case(CASE.format("eager"))
    assert read_further_runs(path) == FurtherRuns()
    write_further_runs(FurtherRuns().with_look(case, 5).with_look(case, 8), path)
    further = read_further_runs(path)
    assert (further.of(case), further.most()) == ((5, 8), 8)
    assert further.of(parse_case(CASE.format("fx"))) == ()
    path.write_text("[]")
    with pytest.raises(CorruptFile, match="delete it: the runs stay"):
        read_further_runs(path)


def test_a_later_plan_keeps_the_further_runs(config: Config) -> None:
    case = parse_case(CASE.format("eager"))
    assert len(Plan(config, case).run_records) == 3
    assert Plan(config, case, (5, 8)).run_records == [case.run_record(n) for n in range(1, 9)]


@pytest.fixture
def config() -> Config:
    from torchmodes.config import parse_config

    block = {"task": "inference", "models": ["m"], "modes": ["eager"], "batch_sizes": [8]}
    return parse_config(
        {
            "data": {},
            "models": {"house_price": {"family": "mlp"}, "m": {"family": "mlp"}},
            "modes": {"eager": {"engine": "eager"}},
            "benchmark": [block],
            "measurement": {},
        }
    )
