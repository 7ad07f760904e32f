"""Studies: what they conclude from records, and what their processes do."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from job_factory import make_job
from record_factory import make_record

from torchmodes.config.models import MlpModel
from torchmodes.config.modes import CompileMode, EagerMode, FxMode
from torchmodes.planning.cases import parse_case
from torchmodes.planning.job import Job
from torchmodes.processes.outcome import Outcome
from torchmodes.report.data import Study, make_report_data
from torchmodes.report.studies import draw_study, findings
from torchmodes.results.records import Record
from torchmodes.studies import batch_scaling, inference_context
from torchmodes.studies.batch_scaling import knee
from torchmodes.studies.catalogue import STUDIES, StudyResult
from torchmodes.studies.shapes_job import change_shapes, first_items
from torchmodes.studies.thread_scaling import thread_counts
from torchmodes.studies.threads_job import measure_threads
from torchmodes.workloads.workload import carry_out

INFERENCE = "inference/cpu/house_price/{}/fp32-b{}"


@pytest.fixture(autouse=True)
def restored() -> Generator[None]:
    """A job configures its own process; here that process is the tests'."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def job(mode: EagerMode | CompileMode | FxMode, batch_size: int) -> Job:
    """A job of a tiny MLP, as a study hands it to its process."""
    return make_job(
        INFERENCE.format("mode", batch_size),
        mode=mode.model_dump(),
        model=MlpModel(family="mlp", hidden=[4]).model_dump(),
        features=3,
        threads=2,
    )


# --- From records -----------------------------------------------------------------------------


def test_contexts_are_compared_by_their_records() -> None:
    records = [
        make_record(INFERENCE.format("eager-grad", 8), speed_up=0.8),
        make_record(INFERENCE.format("eager-no-grad", 8), status="failed"),
    ]
    modes = {"eager-grad": {"context": "grad"}, "eager-no-grad": {"context": "no_grad"}}
    grad, no_grad = inference_context.study(records, [], modes).cases
    assert (grad.context, grad.verdict) == ("grad", "slower")
    assert grad.speed_up is not None
    assert grad.speed_up.estimate == pytest.approx(0.8, rel=0.05)
    assert (no_grad.status, no_grad.speed_up) == ("failed", None)


def test_the_knee_is_the_smallest_batch_with_nearly_the_best_throughput() -> None:
    assert knee([(1, 10.0), (2, 19.0), (4, 36.0), (8, 38.0), (16, 39.0)]) == 4
    assert knee([(1, 10.0), (2, 8.0)]) == 1
    assert knee([(1, 10.0)]) is None


def test_batch_sizes_of_one_mode_make_a_series() -> None:
    records = [
        make_record(INFERENCE.format("eager", size), baseline_s=0.001 * max(size, 4), blocks=20)
        for size in (16, 1, 4)
    ] + [make_record(INFERENCE.format("fx", 1), status="unsupported")]
    eager, fx = batch_scaling.study(records).series
    assert [point.batch_size for point in eager.points] == [1, 4, 16]
    assert eager.knee == 4
    assert fx.points[0].latency_s is None
    assert fx.knee is None


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_threads_double_up_to_the_cores(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


# --- What their processes do ------------------------------------------------------------------


def test_several_threads_are_measured_against_one() -> None:
    parts = carry_out(measure_threads, job(EagerMode(engine="eager"), 4), counts=[1, 2])
    assert parts["status"] == "ok"
    assert [point["threads"] for point in parts["points"]] == [1, 2]
    assert all(point["speed_up"]["estimate"] > 0 for point in parts["points"])


@pytest.mark.parametrize(("dynamic", "recompiles"), [(None, 1), (False, 2)])
def test_static_shapes_compile_every_batch_size_automatic_ones_twice(
    dynamic: bool | None, recompiles: int
) -> None:
    mode = CompileMode(engine="compile", backend="eager", dynamic=dynamic)
    parts = carry_out(change_shapes, job(mode, 3), mark=False, drop_last=None)
    assert [call["batch_size"] for call in parts["calls"]] == [1, 2, 3, 1, 2, 3]
    # A batch of one is always compiled for itself; then automatic shapes become dynamic.
    assert parts["recompiles"] == recompiles
    assert parts["graphs"] == recompiles + 1


def test_a_marked_batch_is_compiled_once_for_all_sizes_above_one() -> None:
    mode = CompileMode(engine="compile", backend="eager")
    parts = carry_out(change_shapes, job(mode, 4), mark=True, drop_last=None)
    assert (parts["status"], parts["graphs"]) == ("ok", 2)


def test_items_are_taken_from_every_tensor_that_holds_a_batch() -> None:
    inputs = ((torch.zeros(4, 2), torch.zeros(3)), {"scale": torch.tensor(1.0), "name": "x"})
    (x, other), kwargs = first_items(inputs, 2, 4)
    assert x.shape == (2, 2)
    assert other.shape == (3,)
    assert kwargs["scale"].ndim == 0
    assert kwargs["name"] == "x"


@pytest.mark.parametrize("name", [name for name, entry in STUDIES.items() if entry.child])
def test_only_a_case_that_uses_the_operators_is_refused_without_them(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {}

    def run_job(target: str, job: Job, **more: Any) -> tuple[dict[str, Any], Outcome | None]:
        given[job.mode["engine"]] = job.operators
        return {"status": "unsupported", "reason": "not run"}, None

    monkeypatch.setattr(f"torchmodes.studies.{name}.run_job", run_job)
    modes = (EagerMode(engine="eager"), FxMode(engine="fx", passes=["custom-operators"]))
    inputs = {"operators": ["operators.so", "build.json"]}
    jobs = [Job.planned(job(mode, 4).parameters, {}, inputs, threads=2) for mode in modes]
    found = STUDIES[name].study(jobs, log=tmp_path / "log")
    assert {case.reason for case in found.cases} == {"not run"}
    assert given == {"eager": None, "fx": Path("operators.so")}


# --- In the report ----------------------------------------------------------------------------

SPEED = {"estimate": 1.6, "low": 1.5, "high": 1.7}
CASE = parse_case(INFERENCE.format("eager", 8)).identity()
FOUND: dict[str, tuple[StudyResult | dict[str, Any], str]] = {
    "compile_cost": (
        {"cases": [{"case": CASE, "cold_s": 9.0, "warm_s": 3.0, "reason": None}]},
        "3.00 s instead of 9.00 s",
    ),
    "inference_context": (
        inference_context.study(
            [make_record(INFERENCE.format("eager-grad", 8), speed_up=0.5)],
            [],
            {"eager-grad": {"context": "grad"}},
        ),
        "the speed changed: grad on house_price 0.",
    ),
    "batch_scaling": (
        batch_scaling.study(
            [make_record(INFERENCE.format("eager", size), baseline_s=1e-3) for size in (1, 8)]
        ),
        "rose up to the largest batch measured: eager of house_price (fp32) at batch 8",
    ),
    "thread_scaling": (
        {
            "cases": [
                {
                    "case": CASE,
                    "points": [{"threads": 2, "latency_s": 0.01, "speed_up": SPEED}],
                    "status": "ok",
                    "reason": None,
                }
            ]
        },
        "1.60× as fast with 2 as with one",
    ),
    "position": (
        {
            "cases": [
                {
                    "case": CASE,
                    "points": [
                        {"position": p, "latency_s": s, "eager_s": 0.02, "speed_up": SPEED}
                        for p, s in ((64, 0.01), (96, 0.015))
                    ],
                }
            ]
        },
        "takes 1.50 times as long at position 96 as at 64, one of eager beside it 1.00 times",
    ),
    "dynamic_shapes": (
        {
            "cases": [
                {
                    "case": CASE,
                    "variant": "static",
                    "drop_last": None,
                    "status": "ok",
                    "reason": None,
                    "calls": [{"batch_size": 1, "seconds": 2.0}, {"batch_size": 2, "seconds": 1.0}],
                    "graphs": 2,
                    "recompiles": 1,
                    "usual_s": 0.01,
                    "spike_s": 1.0,
                }
            ]
        },
        "static compiled again 1 time (slowest call after the first 1.00 s)",
    ),
}


def study_of(name: str, content: StudyResult | dict[str, Any]) -> Study:
    return Study(name, STUDIES[name].result.model_validate(content))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_finding_and_its_figure(name: str) -> None:
    content, words = FOUND[name]
    (finding,) = findings(make_report_data([], studies=[study_of(name, content)]))
    assert words in finding.text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert all(len(row) == len(finding.columns) for row in finding.rows)
    assert finding.svg.startswith("<svg")


def told(name: str, content: StudyResult | dict[str, Any], records: Sequence[Record] = ()) -> str:
    (finding,) = findings(make_report_data(list(records), studies=[study_of(name, content)]))
    return finding.text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_beyond_the_knee_a_larger_batch_is_said_to_bring_little() -> None:
    records = [
        make_record(INFERENCE.format("eager", size), baseline_s=0.001 * max(size, 4), blocks=20)
        for size in (1, 4, 16)
    ]
    assert "of its best throughput at batch 4" in told(
        "batch_scaling", batch_scaling.study(records)
    )
    assert "larger batch adds latency" in told("batch_scaling", batch_scaling.study(records))


def test_of_a_batch_size_without_a_verdict_nothing_is_concluded() -> None:
    records = [
        make_record(INFERENCE.format("eager", size), baseline_s=0.001 * max(size, 4), blocks=20)
        for size in (1, 4, 16)
    ]
    doubt = {"no_verdict": "other programs kept 1.5 of 2 cores busy"}
    records[1] = records[1].model_copy(update=doubt)
    found = batch_scaling.study(records)
    assert found.series[0].knee is None
    said = told("batch_scaling", found)
    assert "best throughput" not in said
    assert said.endswith("nothing is concluded: other programs kept 1.5 of 2 cores busy.")


def test_one_core_is_not_compared_with_itself() -> None:
    point = {"threads": 1, "latency_s": 0.01, "speed_up": SPEED}
    entry = {"case": CASE, "points": [point], "status": "ok", "reason": None}
    assert (
        told("thread_scaling", {"cases": [entry]}) == "No case was measured with several threads."
    )


def test_changing_shapes_of_two_cases_are_told_apart() -> None:
    content, _ = FOUND["dynamic_shapes"]
    assert isinstance(content, dict)
    (entry,) = content["cases"]
    training = entry | {"case": CASE | {"task": "training"}}
    text = told("dynamic_shapes", {"cases": [entry, training]})
    assert "house_price (inference), its batch size changing: static compiled" in text
    assert "house_price (training), its batch size changing: static compiled" in text


def test_a_context_is_judged_among_all_cases_of_the_run() -> None:
    """Of a hundred claims this one is too weak to stand: the study must not say otherwise."""
    weak = make_record(INFERENCE.format("eager-grad", 8), speed_up=0.97)
    weak = weak.model_copy(
        update={"statistics": weak.statistics.model_copy(update={"p_value": 0.02})}
    )
    others = [
        make_record(INFERENCE.format(f"mode-{number}", 8), speed_up=1.0) for number in range(99)
    ]
    content = inference_context.study([weak], [], {"eager-grad": {"context": "grad"}})
    assert weak.verdict == "slower"
    assert "Not resolved: grad" in told("inference_context", content, [weak, *others])


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_in_which_nothing_ran_says_so(name: str) -> None:
    (text,) = draw_study(study_of(name, {"cases": [], "series": []})).texts
    assert "No case of this study ran" in text.get_text()
