"""Operations of a forward pass, against what the layers' shapes give by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.models.flops import count_flops
from torchmodes.workloads.structures import Inputs

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


class Calls(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def counted(module, *args):
    return count_flops(
        BuiltModel(module.eval(), Inputs.of(args), item="row", batch_size=4, draw=Inputs.of)
    )


SERIES = torch.rand(4, 12, 16)
STEPS = 4 * 12
"""Rows times time steps."""


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (
            nn.LSTM(16, 32, 2, bidirectional=True, batch_first=True),
            2 * STEPS * 2 * 4 * 32 * ((16 + 32) + (64 + 32)),
        ),
        (
            nn.GRU(16, 32, 2, bidirectional=True, batch_first=True),
            2 * STEPS * 2 * 3 * 32 * ((16 + 32) + (64 + 32)),
        ),
        (nn.RNN(16, 32, batch_first=True), 2 * STEPS * 32 * (16 + 32)),
        (
            nn.LSTM(16, 32, proj_size=8, batch_first=True),
            2 * STEPS * (4 * 32 * (16 + 8) + 8 * 32),
        ),
    ],
    ids=["lstm", "gru", "rnn", "projected lstm"],
)
def test_recurrent_layers_count_their_matrices_at_each_step(layer, expected):
    found = counted(layer, SERIES)
    assert (found.total, found.fault) == (expected, None)
    assert found.by_module[""] == expected


def test_recurrent_layers_count_the_same_by_the_operator_that_cudnn_runs():
    layer = nn.LSTM(16, 32, 2, bidirectional=True, batch_first=True).to("meta")
    state = torch.rand(4, 4, 32, device="meta")

    def on_cudnn(x):
        weights, lstm = list(layer._flat_weights), 2
        shape = (lstm, 32, 0, 2, True, 0.0, False, True, [], None)
        return torch.ops.aten._cudnn_rnn(x, weights, 4, None, state, state, *shape)

    assert counted(Calls(on_cudnn), SERIES.to("meta")).total == 3_538_944


def encoder():
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_an_encoder_whose_layers_run_as_one_operator_is_counted_whole():
    tokens, width, inner = 4 * 10, 64, 128
    products = 2 * tokens * (4 * width * width + 2 * width * inner)
    attention = 2 * (2 * tokens * 10 * width)
    found = counted(encoder(), torch.rand(4, 10, 64))
    assert found.total == 2 * (products + attention) == 5_447_680
    assert found.by_module["layers.0.linear1"] == 2 * tokens * width * inner
    assert torch.backends.mha.get_fastpath_enabled()


def test_vision_transformers_have_the_operations_that_torchvision_publishes():
    spec = {"family": "torchvision", "name": "vit_b_16", "weights": "random", "image_size": 224}
    built = build_model(spec, seed=1, batch_size=1, device="cpu")
    found = count_flops(built).total
    assert found == 35_127_656_448  # 17.56 G multiply-adds


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (torch.mv, [(16, 8), (8,)], 2 * 16 * 8),
        (torch.dot, [(8,), (8,)], 2 * 8),
        (torch.addmv, [(16,), (16, 8), (8,)], 2 * 16 * 8),
        (torch.addbmm, [(4, 8), (3, 4, 5), (3, 5, 8)], 2 * 3 * 4 * 5 * 8),
        (torch.addr, [(4, 8), (4,), (8,)], 2 * 4 * 8),
        (torch.Tensor.addmm_, [(4, 8), (4, 5), (5, 8)], 2 * 4 * 5 * 8),
        (torch.conv_tbc, [(5, 2, 3), (3, 3, 4), (4,)], 2 * 3 * 2 * 3 * 3 * 4),
    ],
    ids=["mv", "dot", "addmv", "addbmm", "addr", "addmm_", "conv_tbc"],
)
def test_products_that_pytorchs_counter_does_not_know_are_counted(function, args, expected):
    assert counted(Calls(function), *map(torch.rand, args)).total == expected


@torch.library.custom_op("torchmodes_tests::product", mutates_args=())
def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


def sparse(n):
    return torch.eye(n).to_sparse()


@pytest.mark.parametrize(
    ("function", "args", "told"),
    [
        (product, [torch.rand(4, 8), torch.rand(8, 3)], "torchmodes_tests.product"),
        (torch.fft.rfft, [SERIES], "aten._fft_r2c"),
        (torch.linalg.det, [torch.rand(8, 8)], "aten._linalg_det"),
        (torch.cdist, [SERIES, SERIES], "aten._cdist_forward"),
        (torch.sparse.mm, [sparse(16), torch.rand(16, 8)], "aten._sparse_addmm"),
        (torch.matmul, [sparse(16).to_sparse_csr(), torch.rand(16, 8)], "mm of sparse matrices"),
        (torch.matmul, [torch.rand(8, 8) + 0j, torch.rand(8, 8) + 0j], "mm of complex numbers"),
    ],
    ids=["custom", "fft", "det", "cdist", "sparse.mm", "csr", "complex"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_work_of_unknown_size_is_told_and_not_left_out_of_a_sum(function, args, told):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.known, self.unknown = nn.Linear(16, 16), Calls(function)

        def forward(self, *args):
            return self.known(torch.ones(1, 16)), self.unknown(*args)

    found = counted(Half(), *args)
    assert found.total is None
    assert told in found.fault
    assert found.by_module == {"": None, "unknown": None, "known": 2 * 16 * 16}


def test_scripted_parts_are_counted_or_told():
    scripted = torch.jit.script(nn.Linear(16, 8))
    assert counted(nn.Sequential(scripted), SERIES).total == 2 * STEPS * 16 * 8
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval()
    hidden = torch.jit.optimize_for_inference(torch.jit.script(convolution))
    found = counted(nn.Sequential(hidden), torch.rand(1, 3, 8, 8))
    assert (found.total, "convolutions of 0" in found.fault) == (None, True)


def test_a_model_that_the_counter_cannot_run_has_a_reason():
    def refuse(x):
        raise TypeError("not under a mode\nat all")

    found = counted(Calls(refuse), SERIES)
    assert (found.total, found.by_module) == (None, {})
    assert found.fault == "the counter cannot run it (TypeError: not under a mode)"


def test_a_model_without_products_has_no_count_rather_than_zero():
    found = counted(nn.ReLU(), SERIES)
    assert (found.total, found.fault) == (None, None)
