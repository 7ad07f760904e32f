"""The passes give the same numbers as eager, on the same parameters; graphs are described."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from torchmodes.workloads.modes.fx_passes import graph_table, use_custom_operators

pytestmark = pytest.mark.usefixtures("operators_library")


class Functional(nn.Module):
    """Every spelling of linear and ReLU that FX sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))
        self.bias = nn.Parameter(torch.randn(4))
        self.no_bias = nn.Linear(4, 3, bias=False)
        self.act = nn.ReLU()

    def forward(self, x):
        x = F.relu(F.linear(x, self.weight, bias=self.bias))
        x = torch.relu(F.linear(input=x, weight=self.weight.t()))
        x = F.linear(x, self.weight).relu()
        return self.act(self.no_bias(input=x))


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
    )


def in_place() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


MODELS = {"mlp": mlp, "functional": Functional, "in-place": in_place}
COUNTS = {
    "mlp": {"add": 3, "multiply": 2},
    "functional": {"add": 1, "multiply": 4},
    "in-place": {"add": 2, "multiply": 1},
}


def count_custom_operators(traced: fx.GraphModule) -> dict[str, int]:
    called = [node.target for node in traced.graph.nodes]
    operators = torch.ops.torchmodes
    names = ("add", "multiply")
    return {name: called.count(getattr(operators, name).default) for name in names}


def rewrite(model: nn.Module) -> fx.GraphModule:
    return use_custom_operators(fx.symbolic_trace(model))


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_equal_those_of_eager(name, shape):
    eager = MODELS[name]().double()
    rewritten = rewrite(copy.deepcopy(eager))
    assert count_custom_operators(rewritten) == COUNTS[name]
    x = torch.randn(shape, dtype=torch.float64)
    x_eager, x_rewritten = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, actual = eager(x_eager), rewritten(x_rewritten)
    torch.testing.assert_close(actual, expected)
    expected.square().sum().backward()
    actual.square().sum().backward()
    torch.testing.assert_close(x_rewritten.grad, x_eager.grad)
    gradients = {key: value.grad for key, value in rewritten.named_parameters()}
    for key, value in eager.named_parameters():
        torch.testing.assert_close(gradients[key], value.grad)


def test_relu_at_zero_has_no_gradient():
    rewritten = rewrite(nn.Sequential(nn.ReLU()))
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    rewritten(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_interchangeable_with_eager(name):
    eager, rewritten = MODELS[name](), rewrite(MODELS[name]())
    assert list(rewritten.state_dict()) == list(eager.state_dict())
    for parameter in rewritten.parameters():
        nn.init.normal_(parameter)
    eager.load_state_dict(rewritten.state_dict())
    x = torch.randn(7, 5)
    torch.testing.assert_close(rewritten(x), eager(x))
    back = rewrite(MODELS[name]())
    back.load_state_dict(eager.state_dict())
    torch.testing.assert_close(back(x), eager(x))


def test_the_given_graph_is_left_alone_and_parameters_are_shared():
    traced = fx.symbolic_trace(mlp()).eval()
    code = traced.code
    rewritten = use_custom_operators(traced)
    assert traced.code == code
    assert count_custom_operators(traced) == {"add": 0, "multiply": 0}
    assert list(rewritten.parameters()) == list(traced.parameters())
    assert not rewritten.training


def test_a_layer_frozen_in_a_training_model_stays_frozen():
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)).train()
    model[1].eval()
    rewritten = rewrite(model)
    assert rewritten.training
    assert not model[1].training
    assert not rewritten.get_submodule("1").training


def test_a_module_called_twice_keeps_one_set_of_weights():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 5)

        def forward(self, x):
            return self.layer(self.layer(x))

    eager = Twice()
    rewritten = rewrite(eager)
    assert count_custom_operators(rewritten)["add"] == 2
    assert list(rewritten.state_dict()) == ["layer.weight", "layer.bias"]
    x = torch.randn(3, 5)
    torch.testing.assert_close(rewritten(x), eager(x))


@pytest.mark.parametrize("activation", [torch.relu_, lambda x: x.relu_(), nn.ReLU(inplace=True)])
def test_an_in_place_relu_whose_argument_is_read_again_stays(activation):
    class ReadAgain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation = activation

        def forward(self, x):
            y = x * 2
            self.activation(y)
            return y + 1

    rewritten = rewrite(ReadAgain())
    assert count_custom_operators(rewritten)["multiply"] == 0
    assert rewritten(torch.tensor([-1.0, 1.0])).tolist() == [1.0, 3.0]


def test_a_layer_of_another_class_stays():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)), nn.ReLU6())
    rewritten = rewrite(model)
    assert count_custom_operators(rewritten) == {"add": 0, "multiply": 0}
    x = torch.randn(3, 5)
    torch.testing.assert_close(rewritten(x), model(x))


def test_the_rewritten_graph_compiles_whole():
    torch._dynamo.reset()
    eager = mlp()
    compiled = torch.compile(rewrite(eager), fullgraph=True, backend="aot_eager")
    x = torch.randn(7, 5)
    torch.testing.assert_close(compiled(x), eager(x))


def test_a_graph_is_described_as_a_table():
    table = graph_table(rewrite(mlp()))
    assert list(table.columns) == ["opcode", "name", "target", "args", "kwargs", "users"]
    assert table["opcode"].iloc[0] == "placeholder"
    assert table["opcode"].iloc[-1] == "output"
    first = table[table["target"] == "torch.ops.torchmodes.add.default"].iloc[0]
    assert first["args"] == "(matmul, _0_bias)"
    assert first["users"] == "gt, type_as, multiply_default"
