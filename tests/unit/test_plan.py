"""The plan of a case, and the job that is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from torchmodes.config import parse_config
from torchmodes.config.run import Config
from torchmodes.planning import plan
from torchmodes.planning.cases import OPERATOR_FILES, TABLE_FILES, parse_case, training_case
from torchmodes.planning.job import Job
from torchmodes.planning.plan import Plan, StudyPlan, limits

SCRIPT = ("scripts/benchmark_case.py", "torchmodes.measure.case")
INFERENCE = "inference/cpu/house_price/{}/fp32-b8"
TRAINING = "training/cuda/house_price/{}/fp32-b64"


@pytest.fixture
def config() -> Config:
    return parse_config(
        {
            "data": {"source": "mine.csv", "features": ["a", "b", "c"], "target": "d"},
            "models": {
                "house_price": {"family": "mlp", "hidden": [8]},
                "mine": {"family": "user", "factory": "my.py:build", "inputs": "my.py:inputs"},
            },
            "modes": {
                "eager": {"engine": "eager"},
                "inductor": {"engine": "compile"},
                "custom": {"engine": "fx", "passes": ["custom-operators"]},
                "onnx": {"engine": "onnxruntime"},
            },
            "training": {"model": "house_price", "modes": ["eager"]},
            "benchmark": [
                {
                    "task": "inference",
                    "models": ["house_price"],
                    "modes": ["eager"],
                    "batch_sizes": [8],
                }
            ],
            "profile": {},
            "studies": {},
            "measurement": {"memory_limit_mb": 900},
        }
    )


def plan_of(config: Config, path: str) -> Plan:
    return Plan(config, parse_case(path))


# --- What a case depends on ------------------------------------------------------------------


def test_what_samples_nothing_does_not_depend_on_how_cases_are_sampled(config: Config) -> None:
    planned = plan_of(config, TRAINING.format("eager"))
    assert planned.unsampled_parameters["measurement"] == {"start": "auto", "allocator": "system"}
    assert planned.parameters["measurement"].keys() > {"start", "budget_s"}
    assert planned.parameters | {"measurement": None} == (
        planned.unsampled_parameters | {"measurement": None}
    )


def test_how_a_model_is_scored_is_nothing_to_a_profile(config: Config) -> None:
    raw = config.model_dump()
    raw["models"]["house_price"] |= {"quality": "my.py:evaluate", "quality_margin": 0.1}
    plain, scored = (
        plan_of(each, INFERENCE.format("eager")) for each in (config, parse_config(raw))
    )
    assert plain.parameters != scored.parameters
    assert plain.unsampled_parameters == scored.unsampled_parameters
    assert Path("my.py") in scored._user_files


def test_a_margin_of_no_scores_is_refused(config: Config) -> None:
    raw = config.model_dump()
    raw["models"]["house_price"] |= {"quality_margin": 0.1}
    with pytest.raises(ValueError, match="quality_margin is set without `quality`"):
        parse_config(raw)


def test_a_case_reads_the_table_and_the_operators_and_a_later_run_the_first(
    config: Config,
) -> None:
    table, operators = {"table": [*TABLE_FILES]}, {"operators": [*OPERATOR_FILES]}
    assert plan_of(config, INFERENCE.format("eager")).run_inputs(1) == {}
    trained = plan_of(config, TRAINING.format("custom"))
    assert trained.inputs == trained.run_inputs(1) == table | operators
    first = f"results/runs/{TRAINING.format('custom')}/1.json"
    assert trained.run_inputs(2) == table | operators | {"first": first}


def test_a_training_of_a_model_that_does_not_read_the_table_needs_no_table(
    config: Config,
) -> None:
    planned = plan_of(config, "training/cpu/mine/eager/fp32-b8")
    assert planned.inputs == {}
    assert planned.parameters["learning_rate"] == 1e-3
    assert "train" not in planned.parameters["model"]
    job = Job.planned(planned.parameters, limits(config), planned.inputs, threads=1)
    assert Job.of(json.loads(json.dumps(job.to_json()))) == job


def test_files_of_a_training_step_are_watched_in_training_alone(config: Config, tmp_path) -> None:
    loss = tmp_path / "loss.py"
    mine = config.models["mine"]
    step = mine.train.model_copy(update={"loss": f"{loss}:fn"})
    models = config.models | {"mine": mine.model_copy(update={"train": step})}
    changed = config.model_copy(update={"models": models})
    digests = {}
    for content in ("a = 1", "a = 2"):
        loss.write_text(content)
        plan._code.cache_clear()
        for task in ("training", "inference"):
            path = f"{task}/cpu/mine/eager/fp32-b8"
            digests.setdefault(task, set()).add(plan_of(changed, path).code(*SCRIPT))
    assert {task: len(found) for task, found in digests.items()} == {"training": 2, "inference": 1}


def test_more_runs_change_nothing_of_those_that_are_there(config: Config) -> None:
    more = config.model_copy(
        update={"measurement": config.measurement.model_copy(update={"runs": 5})}
    )
    few, many = (plan_of(each, INFERENCE.format("eager")) for each in (config, more))
    assert few.parameters == many.parameters
    assert many.run_records[:3] == few.run_records
    assert len(many.run_records) == 5


def test_a_case_on_cuda_occupies_a_gpu(config: Config) -> None:
    assert plan_of(config, TRAINING.format("eager")).gpus == 1
    assert plan_of(config, INFERENCE.format("eager")).gpus is None


def test_compilers_count_where_code_is_compiled(config: Config) -> None:
    eager, inductor = (plan_of(config, INFERENCE.format(mode)) for mode in ("eager", "inductor"))
    assert eager.software.keys() == {"torch", "numpy", "weights"}
    assert inductor.software.keys() == {*eager.software, "inductor", "CXX"}
    assert "CUDA" in plan_of(config, TRAINING.format("inductor")).software
    assert "onnxruntime" in plan_of(config, INFERENCE.format("onnx")).software


def test_the_code_of_an_engine_counts_for_its_cases_alone(config: Config) -> None:
    codes = {plan_of(config, INFERENCE.format(mode)).code(*SCRIPT) for mode in config.modes}
    assert len(codes) == len(config.modes)


def test_cases_that_differ_by_their_batch_are_digested_once(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(plan, "code_digest", lambda *modules, files: asked.append(modules) or "0")
    for size in range(1, 20):
        path = f"inference/cpu/house_price/eager/fp32-b{size}"
        assert plan_of(config, path).code("script of this test", "target") == "0"
    assert len(asked) == 1


def test_a_training_job_is_the_case_of_its_mode(config: Config) -> None:
    case = training_case(config, "inductor", auto="mps")
    assert str(case) == f"training/mps/house_price/inductor/fp32-b{config.training.batch_size}"


# --- Studies ---------------------------------------------------------------------------------


def test_a_study_needs_what_any_of_its_cases_needs(config: Config) -> None:
    paths = (INFERENCE.format("eager"), TRAINING.format("eager"), INFERENCE.format("custom"))
    study = StudyPlan(tuple(plan_of(config, path) for path in paths))
    assert study.inputs == {"table": [*TABLE_FILES], "operators": [*OPERATOR_FILES]}
    assert study.gpus == 1
    assert len(study.software) == 3
    assert len(study.code(*SCRIPT)) == 2
    assert study.conda == Path("envs/torch.yaml")


def test_a_study_of_no_case_needs_nothing() -> None:
    assert (StudyPlan(()).inputs, StudyPlan(()).gpus, StudyPlan(()).software) == ({}, None, [])


# --- Jobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [INFERENCE.format("custom"), TRAINING.format("eager")])
def test_a_job_arrives_as_it_was_sent(config: Config, path: str) -> None:
    planned = plan_of(config, path)
    job = Job.planned(planned.parameters, limits(config), planned.inputs, threads=3)
    assert Job.of(json.loads(json.dumps(job.to_json()))) == job
    assert (job.case, job.threads, job.features) == (parse_case(path), 3, 3)
    assert job.learning_rate == (config.training.learning_rate if "training" in path else None)


def test_the_limits_join_what_a_job_is_measured_by_and_change_nothing_else(config: Config) -> None:
    planned = plan_of(config, INFERENCE.format("eager"))
    job = Job.planned(planned.parameters, {"time_limit_s": 7.0}, {}, threads=1)
    assert job.measurement.time_limit_s == 7.0
    full = Job.planned(planned.parameters, limits(config), {}, threads=1)
    assert full.measurement == config.measurement
    assert full.parameters == planned.parameters | {"measurement": config.measurement.model_dump()}


def test_only_a_mode_that_uses_the_operators_is_given_them(config: Config) -> None:
    given = {"operators": OPERATOR_FILES}
    eager, custom = (
        Job.planned(plan_of(config, INFERENCE.format(mode)).parameters, {}, given, threads=1)
        for mode in ("eager", "custom")
    )
    assert (eager.operators, custom.operators) == (None, Path(OPERATOR_FILES[0]))
    assert custom.baseline().operators is None
    assert custom.baseline().case.is_baseline
