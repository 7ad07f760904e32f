"""A neighbour that burns the cores through half of a run must not produce a wrong verdict."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

from torchmodes.config.run import Measurement
from torchmodes.machine.devices import usable_cores
from torchmodes.measure.assess import assess
from torchmodes.measure.clock import make_clock
from torchmodes.measure.load import load_between, read_counters
from torchmodes.measure.sampler import sample
from torchmodes.planning.cases import Case

CASE = Case("inference", "cpu", "work", "candidate", "fp32", 1)
BUDGET_S = 4.0
BURN = f"import time; end = time.time() + {BUDGET_S / 2}\nwhile time.time() < end: pass"


def work(layers: int) -> Callable[[], torch.Tensor]:
    """Return a call whose cost is proportional to the number of layers."""
    weight = torch.full((192, 192), 1 / 192)

    def call() -> torch.Tensor:
        x = torch.ones(8, 192)
        for _ in range(layers):
            x = torch.relu(x @ weight)
        return x

    return call


def measure(baseline: Callable[[], object], candidate: Callable[[], object], *, noisy: bool):
    """Measure for four seconds; a neighbour starts half-way on every core."""
    burners: list[subprocess.Popen[bytes]] = []

    def burn() -> None:
        time.sleep(BUDGET_S / 2)
        burners.extend(
            subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(usable_cores())
        )

    neighbour = threading.Thread(target=burn)
    if noisy:
        neighbour.start()
    counters = read_counters()
    settings = Measurement(target_half_width=1e-6, budget_s=BUDGET_S, warmup_budget_s=0.5)
    sampling = sample(baseline, candidate, clock=make_clock("cpu"), settings=settings, seed=1)
    if noisy:
        neighbour.join()
    for burner in burners:
        burner.wait()
    return assess(
        CASE,
        sampling,
        minimum_effect=0.01,
        extra_s=0.0,
        load=load_between(counters, read_counters()),
        threads=1,
    )


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_same_work_is_never_called_faster_or_slower() -> None:
    result = measure(work(100), work(100), noisy=True)
    assert result.verdict in ("same", "unresolved")
    speed_up = result.statistics.speed_up
    assert speed_up.low < 1.01
    assert speed_up.high > 0.99


def test_more_work_is_never_called_faster() -> None:
    result = measure(work(100), work(110), noisy=True)
    assert result.verdict in ("slower", "unresolved")
