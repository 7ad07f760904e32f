"""Is a mode as good as eager on the user's data? Intervals, verdicts, whole cases, faults."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from job_factory import make_job
from torch import nn

from torchmodes.config.run import Measurement
from torchmodes.measure.benchmark import record_of
from torchmodes.measure.case import measure
from torchmodes.measure.first_calls import warmed_up
from torchmodes.measure.quality import judge, mean_interval, quality, score_interval
from torchmodes.planning.job import EAGER, Job
from torchmodes.report import sentences
from torchmodes.report import verdicts as report_verdicts
from torchmodes.report.data import make_report_data
from torchmodes.report.html import render_report
from torchmodes.report.markdown import render_summary
from torchmodes.report.recommendation import group_cases, recommend
from torchmodes.results.records import Measured, Quality, Record
from torchmodes.workloads.models.evaluation import EvaluationFault, in_batches
from torchmodes.workloads.structures import Inputs
from torchmodes.workloads.workload import carry_out

# --- Intervals -------------------------------------------------------------------------------


def answers(*, both: int = 0, better: int = 0, worse: int = 0, neither: int = 0) -> tuple:
    """Scores of eager and of the mode: right answers are 1."""
    eager = [1] * both + [0] * better + [1] * worse + [0] * neither
    mode = [1] * both + [1] * better + [0] * worse + [0] * neither
    return np.array(eager, dtype=float), np.array(mode, dtype=float)


def test_the_interval_of_accuracies_is_tangos():
    # Airway reactivity of 21 children before and after a transplantation: Fagerland, Lydersen and
    # Laake 2014, from Bentur et al. 2009.
    low, high = score_interval(1, 7, 21)
    assert (low, high) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))
    assert score_interval(7, 1, 21) == (pytest.approx(-high), pytest.approx(-low))


def test_no_flip_among_few_examples_proves_little():
    z2 = 1.959964**2
    low, high = score_interval(0, 0, 100)
    assert (low, high) == (pytest.approx(-z2 / (100 + z2)), pytest.approx(z2 / (100 + z2)))


def test_the_interval_of_scores_is_students_t():
    differences = np.array([0.1, -0.2, 0.05, 0.0, -0.1, 0.3, -0.05, 0.02, 0.01, -0.04, 0.07])
    low, high = mean_interval(differences.mean(), differences.std(ddof=1), differences.size)
    reach = 2.228139 * differences.std(ddof=1) / math.sqrt(differences.size)
    assert (high - low) / 2 == pytest.approx(reach, rel=1e-6)
    assert (high + low) / 2 == pytest.approx(differences.mean())


EVALUATORS = [
    (kind, examples, flips, loss)
    for kind in ("right or wrong", "score")
    for examples in (50, 200, 1000)
    for flips, loss in ((0.1, 0.0), (0.04, 0.01), (0.1, 0.05), (0.2, 0.1), (0.06, -0.02))
]
REPEATS = 150


def simulated(random: np.random.Generator, evaluator: tuple) -> tuple[float, float]:
    """Draw an evaluation with a known true difference, minus the loss, and return its interval."""
    kind, examples, flips, loss = evaluator
    if kind == "score":
        differences = random.gamma(2.0, flips, examples) - 2 * flips - loss
        return mean_interval(differences.mean(), differences.std(ddof=1), examples)
    shares = ((flips - loss) / 2, (flips + loss) / 2)
    better, worse, _ = random.multinomial(examples, (*shares, 1 - flips))
    return score_interval(better, worse, examples)


def test_the_intervals_of_thirty_evaluators_hold_the_truth():
    random = np.random.default_rng(7)
    assert len(EVALUATORS) == 30
    coverages = []
    for evaluator in EVALUATORS:
        drawn = np.array([simulated(random, evaluator) for _ in range(REPEATS)])
        truth = -evaluator[-1]
        coverages.append(((drawn[:, 0] <= truth) & (truth <= drawn[:, 1])).mean())
    assert 0.935 <= np.mean(coverages) <= 0.97  # 4,500 evaluations: ± 0.6 points
    assert min(coverages) > 0.88


def test_a_mode_at_the_margin_is_called_no_worse_in_one_of_forty():
    random = np.random.default_rng(3)
    margin, examples, repeats = 0.02, 500, 2000
    counts = random.multinomial(examples, (0.04, 0.06, 0.9), size=repeats)
    lows = {pair: score_interval(*pair, examples)[0] for pair in set(map(tuple, counts[:, :2]))}
    said = np.mean([lows[tuple(pair)] > -margin for pair in counts[:, :2]])
    assert said == pytest.approx(0.025, abs=0.012)


# --- Verdicts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({"both": 1900, "neither": 100}, "no worse"),
        ({"both": 1900, "worse": 2, "better": 4, "neither": 100}, "no worse"),
        ({"both": 90, "neither": 10}, "unresolved"),
        ({"both": 700, "worse": 60, "better": 5, "neither": 100}, "worse"),
        ({"both": 700, "worse": 12, "better": 4, "neither": 100}, "unresolved"),
    ],
)
def test_verdicts_of_right_answers(counts: dict[str, int], verdict: str):
    found = judge(*answers(**counts), margin=0.005)
    assert (found.verdict, found.kind) == (verdict, "right or wrong")
    assert (found.better, found.worse) == (counts.get("better", 0), counts.get("worse", 0))
    assert (found.examples_needed is not None) == (verdict == "unresolved")


def test_the_number_of_examples_that_would_decide_decides():
    found = judge(*answers(both=90, neither=10), margin=0.005)
    assert found.examples_needed == 765  # z²/(n + z²) < 0.005

    def as_many(examples: int) -> Quality:
        return judge(*answers(both=examples), margin=0.005)

    assert as_many(found.examples_needed).verdict == "no worse"
    assert as_many(found.examples_needed - 1).verdict == "unresolved"


def test_a_loss_of_exactly_the_margin_is_decided_by_no_number_of_examples():
    found = judge(*answers(both=900, worse=50, neither=50), margin=0.05)
    assert (found.verdict, found.examples_needed) == ("unresolved", None)


@pytest.mark.parametrize(
    ("loss", "verdict"), [(0.0, "no worse"), (0.2, "worse"), (0.0055, "unresolved")]
)
def test_verdicts_of_graded_scores(loss: float, verdict: str):
    random = np.random.default_rng(1)
    eager = random.uniform(0, 1, 300)
    found = judge(eager, eager - loss + random.normal(0, 0.01, 300), margin=0.005)
    assert (found.verdict, found.kind) == (verdict, "score")
    assert found.difference == pytest.approx(-loss, abs=0.002)


def test_few_equal_scores_prove_nothing():
    found = judge(np.full(5, 0.5), np.full(5, 0.5), margin=0.005)
    assert (found.verdict, found.low, found.examples_needed) == ("unresolved", None, 10)


# --- Calling the model with any number of examples -------------------------------------------


class OneSize(nn.Module):
    """As an engine that knows one batch size, and whose next call overwrites its output."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size, self.output = batch_size, torch.zeros(batch_size, 3)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> dict[str, torch.Tensor]:
        assert x.shape == (self.batch_size, 3)
        return {"sum": self.output.copy_(x + shift)}


@pytest.mark.parametrize("examples", [1, 3, 4, 5, 8, 11])
def test_examples_are_cut_into_batches_of_the_case(examples: int):
    example = Inputs((torch.zeros(4, 3),), {"shift": torch.tensor([10.0, 20.0, 30.0])})
    call = in_batches(OneSize(4), example, 4, context=torch.inference_mode)
    x, shift = torch.rand(examples, 3), torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(call(x, shift=shift)["sum"], x + shift)
    assert torch.equal(call(x.numpy(), shift=shift.numpy())["sum"], x + shift)


def test_outputs_in_half_precision_come_as_fp32_and_inputs_are_cast():
    example = Inputs((torch.zeros(2, 3, dtype=torch.bfloat16),))
    call = in_batches(nn.Identity(), example, 2, context=torch.inference_mode)
    assert call(torch.ones(3, 3, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((torch.ones(4, 2),), {}, "called with 1 arguments by position; it takes 1 arguments by"),
        ((torch.ones(4, 2),), {"shift": torch.ones(3)}, "shape (4, 2), and its inputs have"),
        ((torch.ones(0, 3),), {"shift": torch.ones(3)}, "shape (0, 3), and its inputs have"),
        (([[1.0, 2.0, 3.0]],), {"shift": torch.ones(3)}, "argument 1 is a list; give a tensor or"),
        ((torch.ones(4, 3),), {"shift": None}, "argument 'shift' is a NoneType; give a tensor or"),
    ],
)
def test_what_is_no_batch_of_the_inputs_is_refused(args: tuple, kwargs: dict, told: str):
    example = Inputs((torch.zeros(4, 3),), {"shift": torch.zeros(3)})
    call = in_batches(OneSize(4), example, 4, context=torch.inference_mode)
    with pytest.raises(ValueError, match="the model was called with") as error:
        call(*args, **kwargs)
    assert told in str(error.value)


# --- Whole cases: a CNN that was trained on generated images ----------------------------------

CNN = """
from functools import cache
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


def images(count, seed):
    # Bars: upright, lying, or one of both diagonals, somewhere in noise.
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    shift = torch.randint(-3, 4, (count, 1, 1), generator=generator)
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    along = torch.stack([x - 6, y - 6, x - y, x + y - 11])[labels] - shift
    noise = torch.randn(count, 12, 12, generator=generator)
    return (along.abs() < 1).float()[:, None] + 0.55 * noise[:, None], labels


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 4),
    )


def train():
    torch.manual_seed(0)
    model, (x, y) = network(), images(2048, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(6):
        for part in torch.randperm(2048).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    torch.save(model.state_dict(), HERE / "cnn.pt")


def build():
    model = network()
    model.load_state_dict(torch.load(HERE / "cnn.pt"))
    return model


def inputs(batch_size):
    return images(batch_size, seed=int(torch.randint(1000, 2000, ())))[0]


def evaluate(call):
    x, labels = images(1000, seed=1)
    return call(x).argmax(dim=-1) == labels


def graded(call):
    x, labels = images(1000, seed=1)
    return call(x).softmax(dim=-1)[torch.arange(1000), labels].tolist()


def raises(call):
    x, labels = images(10, seed=1)
    return (call(x)[:, 7] == labels).float()


def misshapen(call):
    return call(torch.zeros(10, 1, 13, 13))


def nothing(call):
    return None


def no_numbers(call):
    return ["good"] * 3


def too_many(call):
    return torch.ones(3, 4)


def broken(call):
    return torch.tensor([1.0, float("nan"), 0.0])


def always_right(call):
    return torch.ones(len(call(images(1000, seed=1)[0])))


def few(call):
    return torch.ones(len(call(images(20, seed=1)[0])))


def in_points(call):
    return 100 * torch.tensor(graded(call))


def certain(call):
    return call(images(1000, seed=1)[0]).softmax(dim=-1).amax(dim=-1)


def calls_nothing(call):
    return torch.ones(1000)


def counts_its_calls(call):
    # More examples each time.
    call(images(10, seed=1)[0])
    folder = HERE / "calls"
    folder.mkdir(exist_ok=True)
    (folder / str(len(list(folder.iterdir())))).touch()
    return [1.0] * len(list(folder.iterdir()))
"""
MODES = """
import torch


def rounded(model, inputs, bits):
    # Weights as whole multiples of one step per tensor.
    for parameter in model.parameters():
        step = parameter.abs().max() / (2 ** (bits - 1) - 1)
        parameter.data = (parameter / step).round() * step
    return model


def nan_now_and_then(model, inputs):
    def call(x):
        output = model(x)
        return output if x.max() < 2.5 else output * float("nan")
    return call
"""
DYNAMIC_INT8 = {"engine": "quantize", "library": "torch", "method": "dynamic", "compile": False}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's files, and the trained network's weights."""
    from torchmodes.planning.user_code import load_function

    folder = tmp_path_factory.mktemp("mine")
    (folder / "cnn.py").write_text(CNN)
    (folder / "modes.py").write_text(MODES)
    load_function(f"{folder / 'cnn.py'}:train")()
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Generator[None]:
    """Compute with one thread: several wait for each other where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


JobOf = Callable[..., Job]


@pytest.fixture
def job(workplace: Path) -> JobOf:
    """Return what makes a job of the network in a mode, judged by a function of its file."""

    def of(evaluate: str = "evaluate", mode: Any = EAGER, precision: str = "fp32", **more) -> Job:
        if isinstance(mode, str):
            factory = f"{workplace / 'modes.py'}:{mode}"
            mode = {"engine": "user", "factory": factory, "options": more.pop("options", {})}
        file = workplace / "cnn.py"
        return make_job(
            f"inference/cpu/cnn/{'eager' if mode is EAGER else 'other'}/{precision}-b8",
            mode=mode,
            model={
                "family": "user",
                "factory": f"{file}:build",
                "inputs": f"{file}:inputs",
                "options": {},
                "item": "image",
                "quality": f"{file}:{evaluate}",
                **more,
            },
            features=None,
            measurement=Measurement.model_construct(
                target_half_width=0.5, budget_s=0.02, warmup_budget_s=0.02, min_quads=3
            ),
        )

    return of


def judged(job: Job) -> Quality:
    found = quality(job, warmed_up(job.baseline()), warmed_up(job))
    assert found is not None
    return found


def test_int8_of_a_trained_network_is_measured_and_scored_in_its_first_run(job: JobOf):
    found = Measured.model_validate(carry_out(measure, job(mode=DYNAMIC_INT8, precision="int8")))
    assert found.status == "ok"
    assert found.quality is not None
    assert found.quality.examples == 1000
    assert 0.8 < found.quality.baseline < 0.99
    assert found.quality.verdict in ("no worse", "unresolved")
    if found.quality.verdict == "unresolved":
        assert found.quality.examples_needed is not None
        assert found.quality.examples_needed > 1000
    assert found.exactness is not None
    assert found.exactness.eager is not None
    assert found.exactness.mode is not None
    assert found.exactness.eager < 1e-6 < 1e-4 < found.exactness.mode


def record(job: Job, **run: Any) -> Record:
    """Measure a case, here, and make its record."""
    result = carry_out(measure, job, **run)
    return record_of(result, None, job, started_at=datetime.now(UTC), environment={})


def test_a_spoilt_mode_is_worse_through_a_whole_case_and_its_report(job: JobOf):
    eager = record(job())
    spoilt = record(job(mode="rounded", precision="int8", options={"bits": 3}))
    assert (spoilt.status, spoilt.is_worse) == ("ok", True)
    assert spoilt.numerics is not None
    assert spoilt.numerics.usual_tolerance == 0.1 < spoilt.numerics.error
    assert "worse on the user's data" in spoilt.in_brief()
    data = make_report_data([eager, spoilt])
    (group,) = group_cases(data.cases)
    recommendation = recommend(group)
    assert recommendation.best is None, "however fast it is"
    assert "was worse on your data" in sentences.reason(recommendation)
    page, summary = render_report(data), render_summary(data)
    for told in ("worse on your data", "On your data it is worse than eager: ", "1,000 examples"):
        assert told in page
        assert told in summary
    assert '<span class="chip worse">worse</span>' in page


def test_an_output_outside_its_tolerance_is_right_where_the_data_say_so(job: JobOf):
    far = record(job("always_right", "rounded", precision="int8", options={"bits": 3}))
    assert far.numerics is not None
    assert (far.status, far.quality and far.quality.verdict) == ("ok", "no worse")
    said = sentences.numerics(report_verdicts.judge([far])[0])
    assert "output further off than the 0.1 usual of int8, and so judged on your data" in said
    later = record(
        job("always_right", "rounded", precision="int8", options={"bits": 3}), first=False
    )
    assert later.status == "ok"


@pytest.mark.parametrize(
    ("evaluate", "precision", "told"),
    [
        ("few", "int8", "above 0.1; whether it is worse on your data is open, 765 examples like"),
        ("always_right", "fp32", "above 0.0001"),  # what rounds to 3 bits is no fp32
    ],
)
def test_what_the_data_leave_open_is_wrong_outside_its_tolerance(
    job: JobOf, evaluate: str, precision: str, told: str
):
    found = record(job(evaluate, "rounded", precision=precision, options={"bits": 3}))
    assert found.status == "wrong"
    assert found.reason is not None
    assert told in found.reason


def test_a_fault_of_the_function_is_told_before_the_tolerance(job: JobOf):
    found = record(job("too_many", "rounded", precision="int8", options={"bits": 3}))
    assert found.status == "failed"
    assert "too_many() returned scores of shape (3, 4)" in str(found.reason)


def test_scores_that_no_model_was_called_for_widen_no_tolerance(job: JobOf):
    found = record(job("calls_nothing", "rounded", precision="int8", options={"bits": 3}))
    assert (found.status, found.quality) == ("failed", None)
    assert "calls_nothing() never called the model" in str(found.reason)


def test_later_runs_do_not_score_again(job: JobOf):
    found = Measured.model_validate(carry_out(measure, job(), first=False))
    assert (found.status, found.quality, found.exactness) == ("ok", None, None)


@pytest.mark.parametrize("evaluate", ["evaluate", "graded"])
def test_weights_rounded_to_3_bits_are_worse_and_to_12_bits_are_not(job: JobOf, evaluate: str):
    spoilt = judged(job(evaluate, "rounded", options={"bits": 3}))
    assert spoilt.verdict == "worse"
    assert spoilt.high is not None
    assert spoilt.high < -0.005
    fine = judged(job(evaluate, "rounded", options={"bits": 12}))
    assert fine.verdict != "worse"
    assert abs(fine.difference) < 0.005


def test_eager_scores_as_eager(job: JobOf):
    found = judged(job())
    assert (found.difference, found.better, found.worse) == (0, 0, 0)


@pytest.mark.parametrize(
    ("evaluate", "told"),
    [
        ("raises", "cnn.py, line {third}: IndexError: index 7 is out of bounds"),
        ("misshapen", "cnn.py, line {next}: ValueError: the model was called with a tensor"),
        ("no_numbers", "cnn.py, line {line}: no_numbers() returned list; it must return"),
        ("nothing", "cnn.py, line {line}: nothing() returned None; it must return one number"),
        ("too_many", "cnn.py, line {line}: too_many() returned scores of shape (3, 4)"),
        ("broken", "cnn.py, line {line}: broken() returned 1 of 3 scores that are NaN"),
        ("calls_nothing", "cnn.py, line {line}: calls_nothing() never called the model, so its"),
        ("in_points", "outside of 0 to 1 there is no margin by default; set quality_margin"),
        ("counts_its_calls", "returned 1 scores for eager and 2 for the mode: score the same"),
    ],
)
def test_a_fault_of_the_function_names_its_line(job: JobOf, evaluate: str, told: str):
    line = CNN[: CNN.index(f"def {evaluate}(")].count("\n") + 1
    with pytest.raises(EvaluationFault) as fault:
        judged(job(evaluate))
    assert told.format(line=line, next=line + 1, third=line + 2) in str(fault.value)


def test_a_fault_of_the_function_is_the_cases_reason(job: JobOf):
    found = Measured.model_validate(carry_out(measure, job("too_many")))
    assert (found.status, found.verdict, found.failure) == ("failed", None, None)
    assert found.reason is not None
    assert "too_many() returned scores of shape (3, 4)" in found.reason
    assert found.remedy is not None
    assert "make check" in found.remedy


def test_scores_in_another_unit_need_a_margin_of_their_own(job: JobOf):
    assert judged(job("in_points", quality_margin=0.5)).margin == 0.5


def test_a_fault_in_the_mode_alone_is_told_as_such(job: JobOf):
    with pytest.raises(EvaluationFault, match=r"eager was scored, this mode was not: .* are NaN"):
        judged(job("certain", "nan_now_and_then"))
