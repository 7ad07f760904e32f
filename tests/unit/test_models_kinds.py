"""One small model of each kind: built twice from a seed, run in eager, compared with itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from torchmodes.config.models import Model
from torchmodes.measure.input_sets import InputSets
from torchmodes.measure.numerics import compare
from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.models.check import describe_shapes

TINY = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32}
TINY |= {"num_attention_heads": 2, "vocab_size": 50}
BART = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 32, "vocab_size": 50}
WHISPER = BART | {"max_source_positions": 50, "encoder_attention_heads": 2, "pad_token_id": 0}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
T5 = {"num_layers": 1, "d_model": 32, "d_ff": 32, "num_heads": 2, "d_kv": 16, "vocab_size": 50}
SOUND = {key: TINY[key] for key in TINY if key != "vocab_size"} | {"conv_dim": [16] * 7}
IMAGE = SOUND | {"image_size": 32}
IMAGE.pop("conv_dim")


def vision(name: str, **keys: Any) -> dict[str, Any]:
    return {"family": "torchvision", "name": name} | keys


def language(source: str, **keys: Any) -> dict[str, Any]:
    return {"family": "transformers", "source": source, "sequence_length": 6, "samples": 800} | keys


KINDS = {
    "classifier": (vision("shufflenet_v2_x0_5", image_size=32), "image", "2×3×32×32", "2×1000"),
    "quantised": (
        vision("quantized_shufflenet_v2_x0_5", image_size=64),
        "image",
        "2×3×64×64",
        "2×1000",
    ),
    "segmentation": (
        vision("lraspp_mobilenet_v3_large", image_size=32),
        "image",
        "2×3×32×32",
        "2×21×32×32",
    ),
    "video": (
        vision("r3d_18", image_size=16, frames=4),
        "video",
        "2×3×4×16×16",
        "2×400",
    ),
    "optical flow": (
        vision("raft_small", image_size=128),
        "pair",
        "2×3×128×128, 2×3×128×128",
        ", ".join(["2×2×128×128"] * 12),
    ),
    "timm": ({"family": "timm", "name": "test_convnext"}, "image", "2×3×160×160", "2×1000"),
    "timm of another size": (
        {"family": "timm", "name": "test_vit", "image_size": 32, "options": {"num_classes": 5}},
        "image",
        "2×3×32×32",
        "2×5",
    ),
    "text encoder": (language("bert", options=TINY), "sequence", "2×6", "2×6×32"),
    "decoder": (language("llama", head="causal-lm", options=TINY), "sequence", "2×6", "2×6×50"),
    "T5": (language("t5", head="seq2seq-lm", options=T5), "sequence", "2×6, 2×6", "2×6×50"),
    "T5's encoder": (language("t5", part="encoder", options=T5), "sequence", "2×6", "2×6×32"),
    "BART": (language("bart", options=BART), "sequence", "2×6, 2×6", "2×6×32"),
    "Whisper": (
        language("whisper", head="speech-seq2seq", options=WHISPER),
        "recording",
        "2×80×100, 2×6",
        "2×6×50",
    ),
    "Whisper's encoder": (
        language("whisper", part="encoder", options=WHISPER),
        "recording",
        "2×80×100",
        "2×50×32",
    ),
    "vision transformer": (
        language("vit", head="image-classification", options=IMAGE),
        "image",
        "2×3×32×32",
        "2×2",
    ),
    "SigLIP's tower": (
        language("siglip_vision_model", options=IMAGE),
        "image",
        "2×3×32×32",
        "2×4×32",
    ),
    "wav2vec2": (language("wav2vec2", head="ctc", options=SOUND), "recording", "2×800", "2×2×32"),
    "sentences": (
        language("bert", head="sentence-embedding", options=TINY),
        "sequence",
        "2×6",
        "2×32",
    ),
}


def build(section: dict[str, Any], *, seed: int = 42) -> BuiltModel:
    spec: Any = TypeAdapter(Model).validate_python(section)
    return build_model(spec.model_dump(), seed=seed, batch_size=2, device="cpu")


def output_of(built: BuiltModel) -> Any:
    with torch.inference_mode():
        return built.inputs.call(built.module)


@pytest.mark.parametrize(("section", "item", "inputs", "output"), KINDS.values(), ids=KINDS)
def test_a_model_of_each_kind_takes_inputs_of_its_shape(section, item, inputs, output):
    built = build(section)
    assert (built.item, built.module.training) == (item, False)
    assert describe_shapes(built.inputs.args) == inputs
    result = output_of(built)
    assert describe_shapes(result) == output
    again = output_of(build(section))
    assert compare(result, again, precision="fp32", align=built.align).within_tolerance
    assert InputSets(built, seed=42).origin == "drawn"


SMALL_DETECTOR = vision(
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    options={"min_size": 64, "max_size": 64, "box_score_thresh": 0.0, "box_detections_per_img": 5},
)


def test_a_detector_takes_a_list_of_images_and_its_outputs_are_matched():
    built = build(SMALL_DETECTOR)
    assert [tuple(image.shape) for image in built.inputs.args[0]] == [(3, 64, 64)] * 2
    found = output_of(built)
    assert [len(image["boxes"]) for image in found] == [5, 5]
    other_order = [{key: value.flip(0) for key, value in image.items()} for image in found]
    assert compare(found, other_order, precision="fp32", align=built.align).within_tolerance
    assert not compare(found, other_order, precision="fp32").within_tolerance
    assert "random weights" in built.caveat


def test_images_of_timm_are_normalised_as_its_configuration_says():
    """Uniform values in 0 … 1, by mean and standard deviation of each channel."""
    given = build({"family": "timm", "name": "test_convnext"}).inputs.args[0]
    mean, deviation = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5])
    assert given.min() >= ((0 - mean) / deviation).min()
    assert given.max() <= ((1 - mean) / deviation).max()
    assert given.min() < -0.9 < 0.9 < given.max()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"family": "timm", "name": "convnext_tin"}, r"timm has no model 'convnext_tin'; did you"),
        (
            {"family": "timm", "name": "convnext_tiny.fb_in23k"},
            r"'convnext_tiny' has no weights 'fb_in23k'; did you mean 'fb_in22k'\?",
        ),
        (
            {"family": "timm", "name": "test_vit", "options": {"colour": 1}},
            "options: timm cannot create 'test_vit' .*'colour'",
        ),
        (vision("shufflenet_v2_x0_5", options={"colour": 1}), "options: .*'colour'"),
        (language("t5", head="causal-lm"), "'t5' has no 'causal-lm'; it has base, .*seq2seq-lm"),
        (language("bert", part="encoder"), "part: 'bert' is no encoder with a decoder"),
        (
            language("whisper", part="encoder", head="speech-seq2seq"),
            "head: an encoder alone has no 'speech-seq2seq'",
        ),
        (
            language("bart", head="sequence-classification", options=BART),
            "random tokens do not have; choose base or seq2seq-lm",
        ),
        (language("whisper", sequence_length=500), "500 is more than the 448 positions"),
        (language("vit", head="sentence-embedding"), "'vit' has no 'sentence-embedding'; it has"),
    ],
)
def test_what_cannot_be_is_told_at_its_key(section, told):
    with pytest.raises(ValueError, match=told):
        build(section)


def test_timm_weights_that_are_not_here_are_told_and_nothing_is_fetched(no_network):
    with pytest.raises(ValueError, match="weights: pretrained, but those of 'test_convnext'") as e:
        build({"family": "timm", "name": "test_convnext", "weights": "pretrained"})
    for way in ("make check", "HF_HOME", "weights: random"):
        assert way in str(e.value)
