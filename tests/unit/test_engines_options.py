"""Options of engines: what the configuration accepts and how it tells a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from torchmodes.config import parse_config
from torchmodes.faults import InvalidConfig

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
