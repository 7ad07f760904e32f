"""Options of engines: what the configuration accepts and how it tells a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from engine_cases import mode

from torchmodes.config import parse_config
from torchmodes.config.faults import InvalidConfig
from torchmodes.config.modes import ENGINES, read_mode
from torchmodes.planning.cases import expand_grids

ROOT = Path(__file__).parents[2]


def faults_of(section):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["modes"]["mine"] = section
    with pytest.raises(InvalidConfig) as caught:
        parse_config(raw)
    return caught.value.faults


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (
            {"engine": "tensorrt", "frontent": "dynamo"},
            "modes.mine.frontent: unknown key; did you mean 'frontend'?",
        ),
        (
            {"engine": "export", "stric": True},
            "modes.mine.stric: unknown key; did you mean 'strict'?",
        ),
        (
            {"engine": "eager", "context": "nograd"},
            (
                "modes.mine.context: 'nograd' is not one of inference_mode, no_grad, grad;"
                " did you mean 'no_grad'?"
            ),
        ),
        (
            {"engine": "quantize", "method": "weight-only"},
            "modes.mine: method weight-only needs `library: torchao`",
        ),
        (
            {"engine": "tensorrt", "batch_profile": {"min": 8, "max": 8}},
            "modes.mine.batch_profile: min (8) must be less than max (8)",
        ),
        (
            {"engine": "tensorrt", "frontend": "torch_compile", "batch_profile": {"max": 8}},
            "modes.mine: batch_profile needs `frontend: dynamo`",
        ),
        (
            {"engine": "onnxruntime", "opset": 11},
            "modes.mine.opset: should be greater than or equal to 18 (found 11)",
        ),
    ],
    ids=lambda value: value["engine"] if isinstance(value, dict) else "",
)
def test_a_fault_in_a_mode_is_told_with_the_words_of_its_own_engine(section, fault):
    assert faults_of(section) == [fault]


def test_a_mode_that_cannot_train_is_told_where_it_is_asked_to():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["modes"]["ahead"] = {"engine": "aotinductor"}
    raw["training"]["modes"].append("ahead")
    with pytest.raises(InvalidConfig, match="'ahead' cannot train; engines that can: eager, comp"):
        parse_config(raw)


def preset(name):
    """Return a preset laid over config.yaml, as ``--configfile`` does."""
    from snakemake.utils import update_config

    merged = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(merged, yaml.safe_load((ROOT / "config" / name).read_text()))
    return parse_config(merged)


def test_the_gpu_grid_puts_tensorrt_beside_pytorch_and_its_compile_modes():
    cases = {str(case) for case in expand_grids(preset("gpu.yaml").benchmark, auto="cuda")}
    compiled = ["inductor", "inductor-reduce-overhead", "inductor-max-autotune", "cudagraphs"]
    asked = [("eager", "fp32"), ("tensorrt", "fp32"), ("tensorrt", "fp16")]
    asked += [(mode, form) for mode in compiled for form in ("fp32", "tf32", "bf16", "fp16")]
    for batch_size in (1, 8, 16, 32):
        for name, form in asked:
            assert f"inference/cuda/resnet50/{name}/{form}-b{batch_size}" in cases


def test_the_quick_gpu_grid_asks_each_kind_of_question_once_or_twice():
    config = preset("gpu-quick.yaml")
    cases = {str(case) for case in expand_grids(config.benchmark, auto="cpu")}
    for batch_size in (1, 32):
        for name in ("eager/tf32", "eager/bf16", "eager-channels-last/fp16", "inductor/fp32",
                     "inductor-reduce-overhead/fp16", "trace-freeze/fp32"):  # fmt: skip
            assert f"inference/cuda/resnet50/{name}-b{batch_size}" in cases
    assert {
        "inference/cuda/gpt2/eager/fp32-b1",
        "inference/cuda/distilbert/inductor/fp32-b1",
    } <= cases
    assert "training/cuda/house_price/inductor-step/fp32-b2048" in cases
    assert all("/cuda/" in case for case in cases)
    assert len(cases) < 30, "ten minutes"
    profiled = {case.mode for case in expand_grids(config.profile.cases, auto="cpu")}
    assert {"eager-channels-last", "inductor-reduce-overhead"} <= profiled


def test_the_full_grid_has_every_engine_and_every_model():
    config = preset("full.yaml")
    cases = expand_grids(config.benchmark, auto="cpu")
    assert {config.modes[case.mode].engine for case in cases} == {*ENGINES} - {"user"}
    assert {case.model for case in cases} == set(config.models)
    assert {case.mode for case in cases} == set(config.modes)


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (mode("compile"), True),
        (mode("compile", backend="tvm", fallback=["inductor"]), True),
        (mode("compile", backend="aot_eager"), False),
        (mode("aotinductor"), True),
        (mode("quantize", library="torchao", compile=True), True),
        (mode("quantize", library="torchao"), False),
        (mode("eager"), False),
    ],
)
def test_only_what_inductor_writes_needs_a_compiler(options, needed):
    assert read_mode(options).needs_compiler() == needed


@pytest.mark.parametrize(
    ("backend", "package"),
    [
        ("openvino", "openvino"),
        ("tensorrt", "torch-tensorrt"),
        ("tvm", "apache-tvm"),
        ("openxla", "torch_xla"),
        ("hidet", "hidet"),
    ],
)
def test_the_package_of_a_backend_counts_for_the_modes_that_name_it(backend, package):
    alone = mode("compile", backend=backend)
    at_last = mode("compile", fallback=["aot_eager", backend])
    assert package in read_mode(alone).all_packages()
    assert package in read_mode(at_last).all_packages()
    assert package not in read_mode(mode("compile")).all_packages()
