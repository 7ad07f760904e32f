"""Everything that needs an NVIDIA GPU: skipped without one, and with one checked by

    .venv/bin/pytest tests/unit/test_cuda.py tests/unit/test_clock.py tests/unit/test_memory.py

Each engine measures and the profiler records the house-price model, as a workflow's jobs would.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest
import torch
from engine_cases import mode
from job_factory import make_job

from torchmodes.config.models import MlpModel, TransformersModel
from torchmodes.config.run import Measurement, Profile
from torchmodes.machine.environment import describe_environment
from torchmodes.machine.peaks import measure_peaks
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.measure.gpu import gpu_state
from torchmodes.planning.job import EAGER, Job
from torchmodes.processes.forkserver import ServerUnavailableError
from torchmodes.processes.supervise import run_supervised
from torchmodes.profiling.chrome import read_trace
from torchmodes.profiling.files import TRACE, write_profile
from torchmodes.results.records import Record
from torchmodes.workloads.workload import configure_process, training_workload

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

ENGINES = {
    "eager": mode("eager"),
    "autocast": mode("eager", autocast=True),
    "trace": mode("torchscript", method="trace", freeze=True),
    "fx": mode("fx"),
    "cudagraphs": mode("compile", backend="cudagraphs"),
    "inductor": mode("compile"),
    "reduce-overhead": mode("compile", mode="reduce-overhead"),
    "max-autotune": mode("compile", mode="max-autotune"),
    "freezing": mode("compile", freezing=True),
    "export": mode("export"),
    "aotinductor": mode("aotinductor"),
    "onnxruntime": mode("onnxruntime"),
    "onnxruntime-tensorrt": mode("onnxruntime", provider="tensorrt"),
    "tensorrt": mode("tensorrt", min_block_size=1),
    "tensorrt-compile": mode("tensorrt", frontend="torch_compile", min_block_size=1),
    "tensorrt-profile": mode("tensorrt", batch_profile={"min": 1, "max": 128}, min_block_size=1),
    "int8": mode("quantize", library="torchao", method="weight-only"),
    "fp8": mode("quantize", library="torchao"),
    "fp8-weight-only": mode("quantize", library="torchao", method="weight-only"),
}
SHORT = Measurement(budget_s=0.5, warmup_budget_s=2.0, start="fresh")
GRAPHS = ("cudagraphs", "reduce-overhead")


def job_of(path: str, options: dict[str, Any], **more: Any) -> Job:
    """Return a job of half a second of samples."""
    model = {"family": "mlp", "hidden": [256, 256]}
    fields = {"seed": 42, "threads": 2, "learning_rate": 1e-3, "measurement": SHORT, "model": model}
    return make_job(path, mode=options, **fields | more)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the compile cache of these jobs out of the repository's."""
    monkeypatch.setattr("torchmodes.processes.jobs.COMPILE_CACHE", tmp_path / "cache")


def measured(name: str, precision: str, folder: Path) -> Record:
    path = f"inference/cuda/house_price/{name}/{precision}-b64"
    record = benchmark_case(job_of(path, ENGINES[name]), log=folder / "log")
    if record.status == "unsupported":
        pytest.skip(f"{record.reason}; {record.remedy}")
    assert record.status == "ok", f"{record.reason}\n{(folder / 'log').read_text()[-3000:]}"
    return record


def check(record: Record, name: str) -> None:
    assert record.no_effect is None
    assert record.numerics is not None
    assert record.numerics.within_tolerance
    assert record.samples is not None
    assert record.cost is not None
    device = [block.device_seconds or (0.0,) for block in record.samples.blocks]
    assert min(map(min, device)) > 0
    # They are of a call beside the sample, so about as long where the host is what it waits for.
    host = [block.seconds for block in record.samples.blocks]
    assert median(chain(*device)) <= 1.5 * median(chain(*host))
    assert record.cost.cuda_allocated_bytes
    assert record.cost.cuda_reserved_bytes
    assert record.cost.cuda_reserved_bytes >= record.cost.cuda_allocated_bytes
    assert record.gpu is not None
    assert record.gpu.after.reason is None
    if name in GRAPHS:
        assert record.facts["cudagraph_skips"] == 0


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_computes_what_eager_does_and_is_timed(tmp_path, name):
    precision = {
        "autocast": "fp16",
        "int8": "int8",
        "fp8": "fp8",
        "fp8-weight-only": "fp8",
    }.get(name, "fp32")
    check(measured(name, precision, tmp_path), name)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ["eager", "inductor", "reduce-overhead", "tensorrt"])
def test_other_precisions(tmp_path, name, precision):
    check(measured(name, precision, tmp_path), name)


TINY_GPT2 = TransformersModel(
    family="transformers",
    source="gpt2",
    head="causal-lm",
    sequence_length=16,
    options={"n_layer": 1, "n_embd": 64, "n_head": 2},
)


@pytest.mark.parametrize("model", [MlpModel(family="mlp"), TINY_GPT2], ids=lambda m: m.family)
def test_a_case_that_is_forked_has_the_gpu_and_asks_nvml(tmp_path, model):
    """As the workflow starts it: the fork server must leave the GPU to its children."""
    path = "inference/cuda/house_price/eager/fp32-b4"
    measurement = SHORT.model_copy(update={"start": "fork"})
    forked = job_of(path, EAGER, model=model.model_dump(), measurement=measurement)
    record = benchmark_case(forked, log=tmp_path / "log")
    assert record.status == "ok", f"{record.reason}\n{(tmp_path / 'log').read_text()[-3000:]}"
    assert record.run.start_method == "fork"
    assert record.gpu is not None
    assert record.gpu.before.reason is record.gpu.after.reason is None
    assert record.gpu.after.name == torch.cuda.get_device_properties(0).name
    assert record.energy is not None
    assert record.energy.joules, record.energy.reason


@pytest.mark.parametrize("scope", ["model", "step"])
@pytest.mark.parametrize("name", ["inductor", *GRAPHS])
def test_training_steps_lose_what_eager_loses(tmp_path, name, scope):
    generator = torch.Generator().manual_seed(0)
    batch = tuple(torch.randn(64, width, generator=generator).cuda() for width in (5, 1))
    losses = []
    for options in (EAGER, ENGINES[name] | {"scope": scope}):
        path = f"training/cuda/house_price/{name}/fp32-b64"
        job = job_of(path, options)
        configure_process(job)
        torch._dynamo.reset()
        step = training_workload(job, [batch]).function
        losses.append(torch.stack([step(*batch).clone() for _ in range(8)]))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["eager", "inductor", "reduce-overhead", "tensorrt"])
def test_a_profile_has_kernels_with_what_cupti_tells_of_them(tmp_path, name):
    summary = write_profile(
        job_of(f"inference/cuda/house_price/{name}/fp32-b64", ENGINES[name]),
        schedule=Profile().model_dump(exclude={"cases", "diffs"}),
        directory=tmp_path,
        log=tmp_path / "log",
    )
    if summary["status"] == "unsupported":
        pytest.skip(summary["reason"])
    assert summary["status"] == "ok", (tmp_path / "log").read_text()[-3000:]
    found = json.loads((tmp_path / "overview.json").read_text())
    assert sum(found["parts"].values()) == pytest.approx(found["wall_s"], rel=1e-3)
    device, launches = found["device"], found["launches"]
    assert all(0 < device[share] <= 1 for share in ("utilisation", "sm_efficiency"))
    assert 0 <= device["occupancy"] <= 1  # in whole per cents: of 64 rows it may be 0
    assert launches["kernels"] >= launches["launches"] > 0
    assert (launches["graph_launches"] > 0) == (name in GRAPHS)
    assert launches["mean_delay_s"] is not None
    kernels = pd.read_csv(tmp_path / "kernels.csv")
    of_both = set(pd.read_csv(tmp_path / "operators.csv")["operator"]) & set(kernels["kernel"])
    assert all(kernel.startswith("triton_") for kernel in of_both)  # Inductor's launches, so named
    assert kernels["blocks_per_sm"].gt(0).any()
    assert read_trace(tmp_path / TRACE).memory["device"].any() or name in GRAPHS
    assert "cuda_memory.pickle" in summary["internals"]["files"], summary["internals"]["fault"]


def test_a_server_that_has_initialised_cuda_is_not_forked(tmp_path, monkeypatch):
    source = "import ctypes; assert ctypes.CDLL('libcuda.so.1').cuInit(0) == 0"
    (tmp_path / "initialises.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ServerUnavailableError, match="importing initialises initialised the GPU"):
        run_supervised(
            "builtins:len",
            {},
            log=tmp_path / "log",
            time_limit_s=30.0,
            start="fork",
            preload=["initialises"],
        )


def test_ceilings_of_every_precision():
    found = measure_peaks("cuda", threads=2)
    rates = found.flops_per_s
    assert rates["fp16"] > rates["fp32"] > 0
    assert found.copy_bytes_per_s > 0 < found.triad_bytes_per_s
    if torch.cuda.get_device_capability() >= (8, 0):
        has_fp8 = torch.cuda.get_device_capability() >= (8, 9)
        assert set(found.faults) == (set() if has_fp8 else {"fp8"})
        assert rates["int8"] > 0
        assert rates["tf32"] > rates["fp32"]


def test_the_gpu_is_described_as_pytorch_sees_it():
    state, properties = gpu_state(0), torch.cuda.get_device_properties(0)
    assert state.reason is None
    assert state.name == properties.name
    assert str(properties.uuid) in str(state.uuid)
    assert state.throttle_reasons is not None
    assert describe_environment()["gpu"]["uuid"] == state.uuid
