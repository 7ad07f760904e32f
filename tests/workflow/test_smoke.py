"""The whole pipeline on the smoke configuration: what it leaves, and when it works again."""

from __future__ import annotations

import hashlib
import html
import json
import re
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise

import pytest
from workflow.conftest import Workflow

from torchmodes.measure.sampler import FEWEST_BLOCKS, OVERRUN
from torchmodes.profiling.files import GENERATED_CODE, OVERVIEW, STACKS, SUMMARY, TABLES, TRACE
from torchmodes.results.records import read_record, read_records

pytestmark = pytest.mark.workflow
RECORD = "results/benchmark/training/cpu/house_price/{}/fp32-b256.json"
BUDGET_S = 0.5  # of config/smoke.yaml
MODES = ["eager", "compiled-eager", "fx", "fx-custom-op", "torchscript"]


def records(workflow: Workflow):
    return read_records((workflow.folder / "results/benchmark").rglob("*.json"))


def test_it_leaves_every_file_the_readme_promises(finished: Workflow) -> None:
    for name in (
        "reports/report.html",
        "reports/summary.md",
        "results/summary.csv",
        "results/summary.parquet",
        "results/data/housing.csv",
        "results/data/statistics.json",
        "results/operators/torchmodes_ops.so",
        *(RECORD.format(mode) for mode in MODES),
        *(f"results/training/{mode}/metrics.json" for mode in MODES),
        "results/training/fx/model/graph.txt",
        "results/training/torchscript/model/model.pt",
        "results/tensorboard/training-house_price-eager-fp32-b256/torchmodes.pt.trace.json.gz",
        "results/machine/cpu.json",
        "results/roofline.json",
        "results/plots/layers.svg",
        "results/plots/roofline.svg",
        "results/plots/step_parts.svg",
    ):
        assert (finished.folder / name).stat().st_size > 0, name


def test_the_page_could_read_every_file_and_names_the_table_by_its_digest(
    finished: Workflow,
) -> None:
    page = (finished.folder / "reports/report.html").read_text()
    table = (finished.folder / "results/data/housing.csv").read_bytes()
    assert hashlib.sha256(table).hexdigest() in page
    assert "cannot be read" not in page


def test_every_profile_has_all_of_its_files_and_explains_itself(finished: Workflow) -> None:
    folder = finished.folder / "results/profile"
    for mode in ("eager", "torchscript"):
        profile = folder / f"training/cpu/house_price/{mode}/fp32-b256"
        names = {path.name for path in profile.iterdir()}
        documented = (finished.folder / "docs/profiles.md").read_text(encoding="utf-8")
        assert names == {
            *TABLES,
            TRACE,
            OVERVIEW,
            SUMMARY,
            STACKS,
            GENERATED_CODE,
            "memory.svg",
        }
        assert all(f"`{name}" in documented for name in names)
        overview = json.loads((profile / OVERVIEW).read_text())
        assert sum(overview["parts"].values()) == pytest.approx(overview["wall_s"], rel=1e-3)
        assert json.loads((profile / SUMMARY).read_text())["distortion"] > 0
    (diff,) = (folder / "diff").iterdir()
    found = json.loads(diff.read_text())
    assert found["account_gained_s"] == pytest.approx(found["gained_s"]["profiled"])
    page = html.unescape((finished.folder / "reports/report.html").read_text())
    told = found["sentence"]
    if found["warning"]:  # on a busy machine the profiler can find another difference
        told = "Times are scaled to steps without the profiler"
    assert told in page


def test_no_case_reaches_more_than_the_machine_allows(finished: Workflow) -> None:
    found = json.loads((finished.folder / "results/roofline.json").read_text())
    assert len(found["points"]) == 2
    for point in found["points"]:
        assert 0 < point["share"] <= 1, point
        assert point["source"] == "record"


def test_every_case_is_measured_with_samples_interval_and_verdict(finished: Workflow) -> None:
    for record in records(finished):
        assert record.status == "ok", record.in_brief()
        assert record.statistics is not None
        assert record.samples is not None
        blocks = len(record.samples.counted)
        assert blocks == record.statistics.blocks
        another_s = record.run.sampling_s / blocks  # which a busy machine may have no time for
        assert blocks >= FEWEST_BLOCKS or record.run.sampling_s + another_s > OVERRUN * BUDGET_S
        assert record.verdict in ("faster", "slower", "same", "unresolved")
        assert record.run.torch_threads == record.run.threads


def test_nothing_else_runs_while_a_case_is_measured(finished: Workflow) -> None:
    spans = sorted(
        (datetime.fromisoformat(r.run.started_at), datetime.fromisoformat(r.run.finished_at))
        for r in records(finished)
    )
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))


def test_every_mode_trains_to_the_same_loss_curve(finished: Workflow) -> None:
    curves = {
        mode: [
            float(line.split(",")[2])
            for line in (finished.folder / f"results/training/{mode}/history.csv")
            .read_text()
            .splitlines()[1:]
        ]
        for mode in MODES
    }
    for mode, curve in curves.items():
        assert curve == pytest.approx(curves["eager"], rel=1e-3), mode


def test_the_torchscript_archive_predicts_in_a_process_that_has_only_torch(
    finished: Workflow,
) -> None:
    code = (
        "import sys, torch; sys.modules['torchmodes'] = None;"
        "print(torch.jit.load('model.pt')(torch.zeros(1, 5)).item())"
    )
    folder = finished.folder / "results/training/torchscript/model"
    ran = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    float(ran.stdout)


def test_a_second_run_has_nothing_to_do(finished: Workflow) -> None:
    assert "Nothing to be done" in finished.smoke().stdout


def test_editing_a_plot_measures_nothing_again(finished: Workflow) -> None:
    with (finished.folder / "torchmodes/report/plots.py").open("a") as file:
        file.write("\n# edited\n")
    planned = set(finished.planned())
    assert "write_report" in planned
    assert planned <= {"write_report", "draw_plots", "draw_profile", "draw_profiles", "draw_study"}


def test_editing_the_sampler_measures_every_case_again_but_trains_nothing(
    finished: Workflow,
) -> None:
    with (finished.folder / "torchmodes/measure/sampler.py").open("a") as file:
        file.write("\n# edited\n")
    planned = finished.planned()
    assert planned.count("benchmark_case") == len(records(finished))
    assert not {"train_model", "profile_case", "build_operators"} & set(planned)


@pytest.mark.parametrize(
    "setting",
    ["strict=true", 'measurement={"time_limit_s": 90.0, "memory_limit_mb": 9000}'],
    ids=["strict", "limits"],
)
def test_what_no_result_depends_on_writes_the_report_alone_again(
    finished: Workflow, setting: str
) -> None:
    planned = set(finished.planned("--config", setting))
    assert "write_report" in planned
    assert planned <= {"write_report", "accept_results"}


def test_editing_an_engine_runs_the_studies_of_its_modes_again_and_no_other(
    finished: Workflow,
) -> None:
    with (finished.folder / "torchmodes/workloads/modes/tensorrt.py").open("a") as file:
        file.write("\n# edited\n")
    assert finished.planned() == []
    with (finished.folder / "torchmodes/workloads/modes/compile.py").open("a") as file:
        file.write("\n# edited\n")
    studies = ("compile_cost", "dynamic_shapes", "thread_scaling")
    ran = finished.smoke("--dry-run", *(f"results/studies/{study}.json" for study in studies))
    again = re.findall(r"^ +output: results/studies/(\w+)\.json$", ran.stdout, re.MULTILINE)
    assert sorted(again) == ["compile_cost", "dynamic_shapes"]


def test_a_study_without_training_needs_no_table(fresh: Workflow) -> None:
    assert fresh.planned("results/studies/thread_scaling.json") == ["measure_study"]
    assert "prepare_housing" in fresh.planned("results/studies/compile_cost.json")


def test_changing_an_option_of_one_mode_runs_that_mode_again_and_nothing_else(
    finished: Workflow,
) -> None:
    finished.edit(
        "config/smoke.yaml", "backend: aot_eager }", "backend: aot_eager, fullgraph: true }"
    )
    ran = finished.smoke("--dry-run")
    named = [line for line in ran.stdout.splitlines() if "output: results/runs" in line]
    assert len(named) == 1, ran.stdout
    assert "compiled-eager" in named[0]
    assert finished.planned().count("train_model") == 1


def test_one_record_can_be_asked_for_alone(fresh: Workflow) -> None:
    target = RECORD.format("torchscript")
    ran = fresh.smoke(target)
    assert ran.returncode == 0, ran.stdout
    record = read_record(fresh.folder / target)
    assert record.status == "ok"
    made = {path.parent.parent.name for path in fresh.folder.glob("results/benchmark/*/*/*/*/*")}
    assert made == {"house_price"}
    assert not (fresh.folder / "results/training").exists()


def test_more_runs_of_a_case_measure_the_additional_ones_alone(finished: Workflow) -> None:
    target = RECORD.format("torchscript")
    more = ("--config", 'measurement={"runs": 3}')
    assert {*finished.planned(target, *more)} == {
        "benchmark_case_2",
        "benchmark_case_3",
        "join_runs",
    }
    ran = finished.smoke(target, *more)
    assert ran.returncode == 0, ran.stdout
    record = read_record(finished.folder / target)
    assert [run.number for run in record.runs] == [1, 2, 3]
    assert record.statistics is not None
    # A run that other programs disturbed is kept, and does not count.
    counted = sum(run.left_out is None for run in record.runs)
    assert record.statistics.runs == max(counted, 1)
    assert (record.statistics.standard_error is None) == (counted < 2)
    assert finished.planned(target, *more) == []


def test_three_mistakes_are_told_at_once_before_anything_runs(fresh: Workflow) -> None:
    fresh.edit("config.yaml", "learning_rate: 0.01", "learning_rate: fast")
    fresh.edit("config.yaml", "source: synthetic", "sorce: synthetic")
    fresh.edit("config/smoke.yaml", "modes: [eager, fx]", "modes: [eagr, fx]")
    began = time.monotonic()
    ran = fresh.smoke()
    assert ran.returncode != 0
    assert time.monotonic() - began < 10
    for message in (
        "data.sorce: unknown key; did you mean 'source'?",
        "training.learning_rate: should be a valid number (found 'fast')",
        "benchmark[1].modes[0]: unknown mode 'eagr'; did you mean 'eager'?",
    ):
        assert message in ran.stdout
    assert "Traceback" not in ran.stdout
    assert not (fresh.folder / "results/data").exists()


def test_a_csv_without_a_column_is_one_clear_error(fresh: Workflow) -> None:
    (fresh.folder / "mine.csv").write_text("area,rooms,price\n" + "1,2,3\n4,5,6\n" * 100)
    (fresh.folder / "mine.yaml").write_text(
        "data: {source: mine.csv, features: [area, room], target: price}\n"
    )
    ran = fresh.run("--configfile", "config/smoke.yaml", "mine.yaml")
    assert ran.returncode != 0
    assert "mine.csv" in ran.stdout
    assert "room" in ran.stdout
    assert "did you mean" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_csv_is_checked_beside_a_newer_table_made_from_another(fresh: Workflow) -> None:
    (fresh.folder / "mine.csv").write_text("area,price\n" + "1,\n" * 100)
    made = fresh.folder / "results/data/housing.csv"
    made.parent.mkdir(parents=True)
    made.write_text("area,price\n")
    (fresh.folder / "mine.yaml").write_text(
        "data: {source: mine.csv, features: [area], target: price}\n"
    )
    ran = fresh.run("--dry-run", "--configfile", "config/smoke.yaml", "mine.yaml")
    assert ran.returncode != 0
    assert "mine.csv, line 2, column 'price': the value is missing" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_files_of_ones_own_that_are_not_there_are_told_at_once_where_a_case_uses_them(
    fresh: Workflow,
) -> None:
    extra = {
        "models": {"unused": {"family": "user", "factory": "no.py:f", "inputs": "no.py:i"}},
        "modes": {
            "mine": {"engine": "user", "factory": "mien.py:prepare"},
            "passes": {"engine": "fx", "passes": ["fuse-conv-bn", "passes.py:fold"]},
        },
        "benchmark": [
            {
                "task": "inference",
                "models": ["house_price"],
                "modes": ["mine", "passes"],
                "batch_sizes": [4],
                "devices": ["cpu"],
            }
        ],
    }
    (fresh.folder / "extra.yaml").write_text(json.dumps(extra))
    ran = fresh.run("--dry-run", "--configfile", "config/smoke.yaml", "extra.yaml")
    assert ran.returncode != 0
    assert "the configuration has 2 mistakes" in ran.stdout
    assert "modes.mine.factory: no file mien.py in " in ran.stdout
    assert "modes.passes.passes[1]: no file passes.py in " in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_csv_that_is_not_there_is_told_where_another_table_was_used_before(
    finished: Workflow,
) -> None:
    ran = finished.smoke("--dry-run", "--config", 'data={"source": "mine.csv"}')
    assert ran.returncode != 0
    assert "mine.csv: no such file" in ran.stdout


def test_a_mode_that_cannot_run_is_a_record_with_reason_and_remedy(fresh: Workflow) -> None:
    (fresh.folder / "extra.yaml").write_text(
        json.dumps(
            {
                "modes": {"graphs": {"engine": "compile", "backend": "cudagraphs"}},
                "benchmark": [
                    {
                        "task": "inference",
                        "models": ["house_price"],
                        "modes": ["graphs"],
                        "batch_sizes": [4],
                        "devices": ["cpu"],
                    }
                ],
            }
        )
    )
    target = "results/benchmark/inference/cpu/house_price/graphs/fp32-b4.json"
    ran = fresh.run(target, "--configfile", "config/smoke.yaml", "extra.yaml")
    assert ran.returncode == 0, ran.stdout
    record = read_record(fresh.folder / target)
    assert record.status == "unsupported"
    assert "CUDA graphs" in (record.reason or "")
    assert record.remedy
