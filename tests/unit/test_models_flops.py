"""Operations of a forward pass, against what the layers' shapes give by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchmodes.models import build_model
from torchmodes.models.base import BuiltModel, Inputs
from torchmodes.models.flops import count_flops

TOKENS = 128


def transformer(*, layers, width, inner, vocabulary):
    """Count by hand: projections, attention's two products, feed-forward, and the head."""
    projections = 2 * TOKENS * 4 * width * width
    attention = 2 * (2 * TOKENS * TOKENS * width)
    feed_forward = 2 * TOKENS * 2 * width * inner
    return layers * (projections + attention + feed_forward) + 2 * TOKENS * width * vocabulary


def text(source, head):
    return {
        "family": "transformers",
        "source": source,
        "weights": "random",
        "head": head,
        "sequence_length": TOKENS,
        "options": {},
    }


RESNET50 = {"family": "torchvision", "name": "resnet50", "weights": "random", "image_size": 224}


@pytest.mark.parametrize(
    ("spec", "batch_size", "expected"),
    [
        (
            {"family": "mlp", "hidden": [256, 256]},
            2048,
            2 * 2048 * (5 * 256 + 256 * 256 + 256),
        ),
        (RESNET50, 1, 8_178_368_512),  # 4.09 G multiply-adds, as its authors and torchvision say
        (
            text("gpt2", "causal-lm"),
            1,
            transformer(layers=12, width=768, inner=3072, vocabulary=50257),
        ),
        (
            text("distilbert", "base"),
            1,
            transformer(layers=6, width=768, inner=3072, vocabulary=0),
        ),
    ],
    ids=["house_price", "resnet50", "gpt2", "distilbert"],
)
def test_the_models_that_are_measured_have_the_operations_their_shapes_give(
    spec, batch_size, expected
):
    built = build_model(spec, seed=42, batch_size=batch_size, device="cpu", features=5)
    assert count_flops(built).total == expected


def test_operations_grow_with_the_batch():
    spec = {"family": "mlp", "hidden": [8]}
    one, ten = (
        count_flops(build_model(spec, seed=1, batch_size=n, device="cpu", features=5)).total
        for n in (1, 10)
    )
    assert ten == 10 * one


class Attention(nn.Module):
    """Attention and nothing else, by the operator that `device` would run."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    def forward(self, x):
        return self.operator(x, x, x)


@pytest.mark.parametrize(
    ("operator", "device"),
    [
        (nn.functional.scaled_dot_product_attention, "cpu"),
        (torch.ops.aten._scaled_dot_product_attention_math_for_mps, "meta"),
    ],
    ids=["cpu", "mps"],
)
def test_attention_counts_however_a_device_fuses_it(operator, device):
    x = torch.rand(2, 4, 16, 8, device=device)  # batch, heads, tokens, width of a head
    built = BuiltModel(
        Attention(operator), Inputs.of(x), item="sequence", batch_size=2, draw=Inputs.of
    )
    assert count_flops(built).total == 2 * 4 * 2 * (2 * 16 * 16 * 8)


def test_a_model_of_unknown_operators_has_no_count_rather_than_zero():
    built = BuiltModel(
        nn.ReLU(), Inputs.of(torch.rand(2, 3)), item="row", batch_size=2, draw=Inputs.of
    )
    assert count_flops(built).total is None
