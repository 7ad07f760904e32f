"""What the process of a case keeps of its first calls: engines may reuse an output's memory."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from job_factory import make_job
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from torchmodes.config.models import FAMILIES
from torchmodes.measure import case as case_module
from torchmodes.measure import first_calls
from torchmodes.measure.sampler import OWN_THREADS, SHARED_THREADS, sample
from torchmodes.planning.cases import parse_case
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.structures import Inputs
from torchmodes.workloads.training.dataset import Tensors
from torchmodes.workloads.training.loop import train
from torchmodes.workloads.workload import Workload

RESNET = {"family": "torchvision", "name": "resnet18"}
GPT2 = {"family": "transformers", "source": "gpt2"}


class Replayed:
    """Returns the same tensor each time, overwritten, as a CUDA graph does: 1, 2, 3, …"""

    def __init__(self) -> None:
        self.calls, self.output = 0, torch.zeros(())

    def __call__(self, *_: Any) -> torch.Tensor:
        self.calls += 1
        return self.output.fill_(self.calls)


def warm(monkeypatch: pytest.MonkeyPatch, path: str) -> first_calls.WarmedUp:
    built = BuiltModel(nn.Identity(), Inputs(), "item", 1, draw=lambda seed: Inputs())
    replayed = Replayed()
    workload = Workload(replayed, replayed, nullcontext, SimpleNamespace(), built, 0.0, 0.0)
    monkeypatch.setattr(first_calls, "workload_of", lambda job: workload)
    return first_calls.warmed_up(SimpleNamespace(case=parse_case(path), seed=0))


def test_losses_are_read_before_the_next_step_overwrites_them(monkeypatch):
    losses = warm(monkeypatch, "training/cpu/m/graphs/fp32-b8").output
    assert losses == list(range(1, first_calls.LOSSES_COMPARED + 1))


def test_the_output_that_is_compared_is_one_that_a_cuda_graph_replayed(monkeypatch):
    kept = warm(monkeypatch, "inference/cpu/m/graphs/fp32-b8")
    kept.workload.call()
    assert kept.output == 3, "the first call warms up, the second records, the third replays"


def test_an_epochs_loss_is_the_mean_though_steps_overwrite_it():
    rows = torch.zeros(8, 1)
    tensors = Tensors(*[rows] * 6)
    (epoch,) = train(Replayed(), lambda x: x, tensors, epochs=1, batch_size=2, seed=0)
    assert epoch.train_loss == (1 + 2 + 3 + 4) / 4


def test_neither_side_pays_for_the_libraries(monkeypatch):
    waited = []
    monkeypatch.setattr(first_calls, "synchronize", waited.append)
    with FlopCounterMode(display=False) as counter:
        job = SimpleNamespace(case=parse_case("inference/cpu/m/eager/fp32-b1"), model=RESNET)
        first_calls.start_libraries(job)
    counted = set(map(str, counter.get_flop_counts()["Global"]))
    assert {"aten.convolution", "aten.mm"} <= counted
    assert waited == ["cpu"]


def test_what_a_family_needs_is_imported_before_anything_of_its_model_is_measured(monkeypatch):
    imported = []
    monkeypatch.setattr("torchmodes.workloads.models.importlib.import_module", imported.append)
    job = SimpleNamespace(case=parse_case("inference/cpu/m/eager/fp32-b1"), model=GPT2)
    first_calls.start_libraries(job)
    assert set(FAMILIES["transformers"].preloadable(gpu=False)) == set(imported)


def test_what_was_measured_stands_though_its_artefact_cannot_be_saved(tmp_path):
    def ship(folder):
        (folder / "half").touch()
        raise OSError("No space left on device")

    warnings = []
    assert case_module._ship(SimpleNamespace(ship=ship), tmp_path, warnings) is None
    assert not tmp_path.exists(), "no part of it is loaded"
    assert warnings == ["its artefact was not saved: OSError: No space left on device"]


@pytest.mark.parametrize(
    ("mode", "pace"),
    [
        ({"engine": "eager"}, SHARED_THREADS),
        ({"engine": "user"}, OWN_THREADS),
        ({"engine": "user", "own_threads": False}, SHARED_THREADS),
    ],
)
def test_sides_that_share_threads_take_shorter_turns(tmp_path, monkeypatch, mode, pace):
    file = tmp_path / "mine.py"
    file.write_text("def prepare(model, inputs):\n    return model\n")
    chosen = []

    def noting(*sides: Any, **options: Any) -> Any:
        chosen.append(options["pace"])
        return sample(*sides, **options)

    monkeypatch.setattr(case_module, "sample", noting)
    if mode["engine"] == "user":
        mode = mode | {"factory": f"{file}:prepare"}
    measured = case_module.measure(make_job("inference/cpu/house_price/mine/fp32-b4", mode=mode))
    assert (measured["status"], chosen) == ("ok", [pace])
