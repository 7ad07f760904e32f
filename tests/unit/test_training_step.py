"""What a training step does of what is configured: each against the same written out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from job_factory import make_job
from torch import nn
from torch.nn import functional as F

from torchmodes.config.models import FAMILIES
from torchmodes.config.training_step import TrainingStep
from torchmodes.planning.job import Job
from torchmodes.workloads.modes.base import Refused
from torchmodes.workloads.modes.precision import loss_scaler
from torchmodes.workloads.structures import Inputs
from torchmodes.workloads.training.step import (
    BATCHES,
    Batch,
    keep_inputs_alone,
    make_batches,
    make_optimizer,
    make_step,
    next_token,
    without_dropout,
)
from torchmodes.workloads.workload import training_workload, unsupported

OWN = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)))
        self.head = nn.Linear(6, 4)

    def forward(self, x, scale):
        return {"logits": self.head(self.blocks(x)) * scale}


def inputs(batch_size):
    return {"x": torch.randn(batch_size, 6), "scale": torch.ones(1)}


def targets(batch_size):
    return torch.randint(4, (batch_size,))


def loss(output, batch):
    assert batch.inputs["x"].shape[1] == 6
    return F.cross_entropy(output["logits"], batch.targets, label_smoothing=0.1)
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """A model of the user's that takes keywords and returns a dictionary."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    given = {"family": "user", "factory": f"{file}:Net", "inputs": f"{file}:inputs"}
    return FAMILIES["user"].model_validate(given).model_dump(exclude={"train"})


def job_of(model: dict[str, Any], precision: str = "fp32", batch: int = 4, **train: Any) -> Job:
    return make_job(
        f"training/cpu/m/eager/{precision}-b{batch}",
        model=model,
        train=TrainingStep(**train),
        learning_rate=0.1,
    )


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def stepped(job: Job, steps: int = 1) -> tuple[list[float], nn.Module]:
    workload = training_workload(job)
    with workload.context():
        return [float(workload.call()) for _ in range(steps)], workload.built.module


# --- Losses ------------------------------------------------------------------------------------


def test_a_model_learns_by_the_loss_and_the_targets_of_its_owner(own):
    file = own["factory"].partition(":")[0]
    told = {"loss": f"{file}:loss", "targets": f"{file}:targets", "optimizer": "sgd"}
    losses, _ = stepped(job_of(own, **told), steps=120)
    assert sum(losses[-BATCHES:]) < 0.9 * sum(losses[:BATCHES])


def test_without_a_loss_outputs_are_drawn_towards_seeded_targets(own):
    workload = training_workload(job_of(own, optimizer="sgd"))
    with workload.context():
        loss = workload.call()
    (targets,) = make_batches(workload.built, TrainingStep(), loss="mse", seed=1)[0].targets
    assert targets.shape == (4, 4)
    workload.restart()
    output = workload.built.inputs.call(workload.built.module)
    assert loss == F.mse_loss(output["logits"], targets)


def test_a_classifier_learns_labels_and_a_language_model_the_next_token():
    section = {"family": "torchvision", "name": "resnet18", "image_size": 32}
    model = FAMILIES["torchvision"].model_validate(section).model_dump(exclude={"train"})
    workload = training_workload(job_of(model))
    with workload.context():
        loss = workload.call().item()
    assert 4 < loss < 10, "of 1,000 classes, guessed: about ln(1000)"
    language = {"family": "transformers", "source": "gpt2", "head": "causal-lm"}
    assert FAMILIES["transformers"].model_validate(language).usual_loss() == "next-token"


def test_a_language_model_is_asked_for_the_next_token():
    tokens, logits = torch.tensor([[3, 1, 2], [0, 0, 1]]), torch.randn(2, 3, 4)
    chances = logits.log_softmax(-1)
    asked = [(0, 0, 1), (0, 1, 2), (1, 0, 0), (1, 1, 1)]  # sequence, place, the token after it
    by_hand = -sum(chances[place] for place in asked) / len(asked)
    torch.testing.assert_close(next_token((logits,), Batch(tokens, tokens)), by_hand)
    built = training_workload(job_of(_returning((4, 1)))).built
    ids = replace(built, inputs=Inputs.of(tokens), draw=lambda _: Inputs.of(tokens.flip(0)))
    drawn = make_batches(ids, TrainingStep(), loss="next-token", seed=0)
    assert all(batch.targets is batch.inputs for batch in drawn)


def test_classes_of_tokens_and_of_pixels_are_where_they_are_expected():
    for shape, labels in (((2, 3), (2,)), ((2, 5, 3), (2, 5)), ((2, 3, 5, 5), (2, 5, 5))):
        built = training_workload(job_of(_returning(shape))).built
        batch = make_batches(built, TrainingStep(), loss="cross-entropy", seed=0)[0]
        assert batch.targets.shape == labels
        assert batch.targets.max() < 3


def _returning(shape: tuple[int, ...]) -> dict[str, Any]:
    """Describe a model of this file that returns ones of a shape."""
    return {"family": "user", "factory": f"{__file__}:Ones", "inputs": f"{__file__}:pair"} | {
        "options": {"shape": list(shape)},
        "item": "row",
    }


class Ones(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight, self.shape = nn.Parameter(torch.ones(1)), shape

    def forward(self, x):
        return self.weight * torch.ones(self.shape) + 0 * x.sum()


def pair(batch_size):
    return torch.randn(batch_size, 2)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("1.0", "returned a float: return a tensor with a gradient"),
        ("(output['logits'], 1)", "returned a tuple: return a tensor with a gradient"),
        ("None", "returned None: return a tensor with a gradient"),
        ("output['logits'].detach().sum()", "returned a tensor without a gradient: compute it"),
        ("output['logits'].sum(1)", r"returned the shape \(4,\): return a scalar"),
        ("F.cross_entropy(output['logits'], batch.targets)", "is None: set train.targets"),
        ("output['scores']", "raised KeyError: 'scores'"),
        ("output['logits'].sum() / 0", "returned -?inf at the first step"),
        ("(output['logits'] - 1e9).log().sum()", "returned nan at the first step"),
    ],
)
def test_a_faulty_loss_of_the_users_is_told_by_its_name(own, returned, told):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(f"{OWN}\n\ndef faulty(output, batch):\n    return {returned}\n")
    with pytest.raises(ValueError, match=rf"train.loss: {file}:faulty .*{told}"):
        training_workload(job_of(own, loss=f"{file}:faulty"))


NOT_TO_TRAIN = """

class Sparse(nn.Embedding):
    def __init__(self):
        super().__init__(6, 4, sparse=True)

    def forward(self, x, scale):
        return super().forward(x.abs().long() % 6) * scale


class Detached(Net):
    def forward(self, x, scale):
        return self.head(self.blocks(x)).detach()


@torch.inference_mode()
def inferred():
    return Net()
"""


def odd(own, factory):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(OWN + NOT_TO_TRAIN)
    return own | {"factory": f"{file}:{factory}"}


@pytest.mark.parametrize(
    ("factory", "reason", "remedy"),
    [
        ("Sparse", "is sparse, which adam does not take", "train.optimizer: sgd"),
        ("inferred", "the model was built in inference mode", "measure inference"),
    ],
)
def test_a_model_that_its_optimiser_cannot_train_is_refused(own, factory, reason, remedy):
    with pytest.raises(Refused, match=reason) as refused:
        training_workload(job_of(odd(own, factory), loss="mse"))
    assert remedy in refused.value.unsupported.remedy


def test_sparse_gradients_are_for_sgd(own):
    workload = training_workload(job_of(odd(own, "Sparse"), loss="mse", optimizer="sgd"))
    assert workload.call().isfinite()


def test_an_output_without_a_gradient_is_told_of_the_model(own):
    with pytest.raises(ValueError, match="has no gradient: let its forward compute it without"):
        training_workload(job_of(odd(own, "Detached"), loss="mse"))


def test_what_python_draws_in_a_step_comes_from_the_seed_too(own):
    """As stochastic depth does, which leaves out a layer at random."""
    file = Path(own["factory"].rpartition(":")[0])
    drawn = "import random\n" + OWN.replace("* scale}", "* scale * random.random()}")
    file.write_text(drawn)
    one, other = (stepped(job_of(own, loss="mse"), steps=3)[0] for _ in range(2))
    assert one == other


def test_trying_a_loss_leaves_running_statistics_as_they_were(own):
    file = Path(own["factory"].rpartition(":")[0])
    norm = OWN.replace("nn.Linear(6, 6), nn.Tanh()", "nn.Linear(6, 6), nn.BatchNorm1d(6)")
    file.write_text(norm + "\n\ndef total(output, batch):\n    return output['logits'].sum()\n")
    built = training_workload(job_of(own, loss=f"{file}:total")).built
    assert all(int(b) == 0 for name, b in built.module.named_buffers() if "tracked" in name)


def test_targets_that_are_none_are_told(own):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(OWN + "\n\ndef none(batch_size):\n    return None\n")
    with pytest.raises(ValueError, match=r"own\.py:none returned None; return what cross-entropy"):
        training_workload(job_of(own, loss="cross-entropy", targets=f"{file}:none"))


def test_targets_that_raise_are_told_by_their_name(own):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(OWN + "\n\ndef lost(batch_size):\n    return {}['labels']\n")
    with pytest.raises(ValueError, match=r"train.targets: .*:lost raised KeyError: 'labels'"):
        training_workload(job_of(own, loss="cross-entropy", targets=f"{file}:lost"))


def test_targets_that_do_not_fit_the_loss_are_told_by_their_name(own):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(OWN + "\n\ndef more(batch_size):\n    return targets(batch_size + 1)\n")
    told = r"cross-entropy raised ValueError: Expected .*; its targets are those of .*:more"
    with pytest.raises(ValueError, match=told):
        training_workload(job_of(own, loss="cross-entropy", targets=f"{file}:more"))


def test_options_that_the_optimiser_does_not_take_are_told(own):
    with pytest.raises(ValueError, match=r"train.options: adam does not take {'betas': \[0.9\]}"):
        training_workload(job_of(own, options={"betas": [0.9]}))


def test_a_loss_that_does_not_fit_the_output_is_told(own):
    with pytest.raises(ValueError, match="logits of several classes, and the output has the shape"):
        training_workload(job_of(_returning((4, 1)), loss="cross-entropy"))
    with pytest.raises(ValueError, match="next-token needs token ids"):
        training_workload(job_of(own, loss="next-token"))


# --- Batches -----------------------------------------------------------------------------------


def test_batches_are_drawn_anew_from_the_seed_and_the_same_for_both_sides(own):
    one, other = (training_workload(job_of(own)).built for _ in range(2))
    drawn, again = (make_batches(b, TrainingStep(), loss="mse", seed=7) for b in (one, other))
    assert len(drawn) == BATCHES
    assert len({float(batch.inputs["x"].sum()) for batch in drawn}) == BATCHES
    for a, b in zip(drawn, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


# --- Optimisers --------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["for-loop", "foreach", "fused"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_variant_of_an_optimiser_makes_the_same_step(own, name, implementation):
    told = {"optimizer": name, "options": {"weight_decay": 0.1}}
    _, plain = stepped(job_of(own, **told), steps=3)
    workload = training_workload(job_of(own, **told, implementation=implementation))
    with workload.context():
        for _ in range(3):
            workload.call()
    torch.testing.assert_close(workload.built.module.state_dict(), plain.state_dict())


def test_a_variant_is_what_was_asked_for():
    for implementation, chosen in (("fused", (None, True)), ("foreach", (True, None))):
        told = TrainingStep(implementation=implementation)
        options = make_optimizer(nn.Linear(2, 2), learning_rate=1.0, described=told).defaults
        assert (options["foreach"], options["fused"]) == chosen


def test_an_option_that_the_optimiser_does_not_have_is_told_with_what_was_meant():
    told = TrainingStep(optimizer="sgd", options={"momentums": 0.9})
    with pytest.raises(ValueError, match="sgd has no 'momentums'; did you mean 'momentum'"):
        make_optimizer(nn.Linear(2, 2), learning_rate=1.0, described=told)


# --- Gradients ---------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_the_mean_of_the_parts(own):
    loss, module = stepped(job_of(own, optimizer="sgd", accumulate=2))
    workload = training_workload(job_of(own, batch=2))
    parts = make_batches(workload.built, TrainingStep(accumulate=2), loss="mse", seed=1)[0]
    assert [part["x"].shape for part in parts.inputs] == [(2, 6), (2, 6)]
    total = torch.zeros(())
    for inputs, (target,) in zip(parts.inputs, parts.targets, strict=True):
        total = total + F.mse_loss(workload.built.module(**inputs)["logits"], target) / 2
    workload.built.module.zero_grad()
    total.backward()
    assert loss == [pytest.approx(float(total))]
    torch.testing.assert_close(gradients(module), gradients(workload.built.module))


def test_gradients_are_clipped_together(own):
    _, free = stepped(job_of(own))
    _, clipped = stepped(job_of(own, clip_norm=1e-3))
    norm = nn.utils.get_total_norm(gradients(clipped).values())
    assert norm == pytest.approx(1e-3, rel=1e-3)
    ratio = gradients(free)["head.bias"] / gradients(clipped)["head.bias"]
    assert ratio.std() < 1e-3 * ratio.mean()


def test_blocks_are_computed_again_and_the_gradients_are_the_same(own):
    runs = []
    _, plain = stepped(job_of(own))
    workload = training_workload(job_of(own, checkpoint=True))
    first = workload.built.module.blocks[0][0]
    first.register_forward_hook(lambda *_: runs.append(1))
    with workload.context():
        workload.call()
    assert len(runs) == 2, "forward, and again in the backward pass"
    torch.testing.assert_close(gradients(workload.built.module), gradients(plain))


def test_a_model_without_blocks_is_refused_checkpoints():
    assert keep_inputs_alone(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == 0
    with pytest.raises(Refused, match="no list or sequence of blocks"):
        training_workload(job_of(_returning((4, 1)), checkpoint=True))


def test_a_model_whose_parameters_are_all_frozen_is_refused(own):
    file = Path(own["factory"].rpartition(":")[0])
    file.write_text(OWN.replace("self.head = nn.Linear(6, 4)", "self.requires_grad_(False)"))
    with pytest.raises(Refused, match="no parameter of the model requires a gradient"):
        training_workload(job_of(own))


@pytest.mark.parametrize("engine", ["fx", "torchscript"])
def test_a_traced_graph_would_lose_checkpoints(engine):
    mode = {"fx": {"passes": []}, "torchscript": {"method": "trace"}}[engine]
    mode |= {"engine": engine}
    job = make_job("training/cpu/m/t/fp32-b4", mode=mode, train=TrainingStep(checkpoint=True))
    refused = unsupported(job)
    assert "train.checkpoint would be lost" in refused.reason


def test_a_batch_that_its_parts_do_not_divide_is_refused(own):
    refused = unsupported(job_of(own, batch=5, accumulate=2))
    assert refused.reason.startswith("a batch of 5 cannot be taken in 2 parts")
    assert unsupported(job_of(own, batch=6, accumulate=2)) is None


def test_small_gradients_survive_fp16_by_scaling_the_loss():
    weight = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
    assert loss_scaler(job_of(_returning((4, 1))).case) is None
    scaler = loss_scaler(job_of(_returning((4, 1)), "fp16").case)
    x = torch.full((1, 1), 2.0**-13)

    def loss(output: torch.Tensor, batch: Batch) -> torch.Tensor:
        return (output.to(torch.float16) * 2.0**-13).float().sum()

    before = weight.weight.item()
    for scale in (None, scaler):
        step = make_step(weight, optimizer, loss=loss, scaler=scale)
        step(x, None)
    assert scaler.get_scale() == 2.0**10
    assert weight.weight.grad.item() == pytest.approx(2.0**-26, rel=1e-2)
    assert weight.weight.item() == pytest.approx(before - 2.0**-25, abs=1e-6)


# --- Dropout -----------------------------------------------------------------------------------


def test_without_dropout_nothing_is_dropped_in_any_spelling():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_dropout, self.p = 0.3, 0.7

    attention = nn.MultiheadAttention(4, 2, dropout=0.2)
    module = nn.Sequential(nn.Dropout(0.1), nn.LSTM(2, 2, 2, dropout=0.4), attention, Own())
    without_dropout(module)
    assert (module[0].p, module[1].dropout, module[2].dropout) == (0.0, 0.0, 0.0)
    assert (module[3].attention_dropout, module[3].p) == (0.0, 0.7)
