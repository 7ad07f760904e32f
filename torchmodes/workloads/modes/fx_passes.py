"""FX graph passes: rewrite a traced model onto the custom operators; describe a graph."""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import fx, nn

IN_PLACE_RELU_FUNCTIONS = (F.relu_, torch.relu_)
RELU_FUNCTIONS = (F.relu, torch.relu, *IN_PLACE_RELU_FUNCTIONS)


def use_custom_operators(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Rewrite linear layers and ReLUs onto ``torchmodes::add`` and ``torchmodes::multiply``.

    A linear layer becomes a matrix product and, if it has a bias, ``torchmodes::add`` of the bias;
    a ReLU becomes ``torchmodes::multiply`` of its argument and the mask ``x > 0`` in x's dtype.
    Modules (``nn.Linear``, ``nn.ReLU``), functions and methods are all found; subclasses and
    parametrised layers, whose forward may differ, are left as they are.

    Two things differ from eager. -inf gives NaN, being multiplied by 0, where ReLU gives 0. And a
    ReLU that works in place no longer overwrites its argument; so it is rewritten only where nobody
    else reads that argument (reads through another view of its memory are not looked for).

    What `torch.fx.symbolic_trace` returned is not changed; it shares submodules and parameters with
    what is returned, which has the same ``state_dict``.

    Raises
    ------
    ValueError
        When the operators are not loaded.
    """
    if not hasattr(torch.ops.torchmodes, "add"):
        raise ValueError(
            "the operators torchmodes::add and torchmodes::multiply are not loaded: call "
            "torchmodes.workloads.operators.load.load_operators(library) first"
        )
    rewritten = fx.GraphModule(graph_module, copy.deepcopy(graph_module.graph))
    for node in list(rewritten.graph.nodes):
        with rewritten.graph.inserting_before(node):
            if (layer := _linear_operands(rewritten, node)) is not None:
                replacement = _emit_linear(rewritten.graph, *layer)
            elif (argument := _relu_argument(rewritten, node)) is not None:
                replacement = _emit_relu(rewritten.graph, argument)
            else:
                continue
        node.replace_all_uses_with(replacement)
        rewritten.graph.erase_node(node)
    rewritten.graph.lint()
    rewritten.recompile()
    return rewritten


def graph_table(graph_module: fx.GraphModule) -> pd.DataFrame:
    """Tell a graph as a table of texts, a row per node; ``users``: the nodes that read it."""
    rows = [
        {
            "opcode": node.op,
            "name": node.name,
            "target": node._pretty_print_target(node.target),
            "args": str(node.args),
            "kwargs": str(node.kwargs),
            "users": ", ".join(user.name for user in node.users),
        }
        for node in graph_module.graph.nodes
    ]
    return pd.DataFrame(rows)


def _linear_operands(
    graph_module: fx.GraphModule, node: fx.Node
) -> tuple[fx.Node, fx.Node, fx.Node | None] | None:
    """Return the nodes of input, weight and bias where the node is a linear layer."""
    if node.op == "call_function" and node.target is F.linear:
        given = _bound(node, "input", "weight", "bias")
        return given["input"], given["weight"], given["bias"]
    if node.op != "call_module":
        return None
    module = graph_module.get_submodule(str(node.target))
    if type(module) is not nn.Linear:
        return None
    weight = graph_module.graph.get_attr(f"{node.target}.weight")
    bias = graph_module.graph.get_attr(f"{node.target}.bias") if module.bias is not None else None
    return _bound(node, "input")["input"], weight, bias


def _relu_argument(graph_module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Return the node of the argument where the node is a ReLU that may be rewritten."""
    given = _bound(node, "input", "inplace")
    match node.op:
        case "call_module":
            module = graph_module.get_submodule(str(node.target))
            if type(module) is not nn.ReLU:
                return None
            in_place = module.inplace
        case "call_function" if node.target in RELU_FUNCTIONS:
            in_place = node.target in IN_PLACE_RELU_FUNCTIONS or given["inplace"]
        case "call_method" if node.target in ("relu", "relu_"):
            in_place = node.target == "relu_"
        case _:
            return None
    argument = given["input"]
    overwritten_is_read = len(argument.users) > 1 or argument.op in ("placeholder", "get_attr")
    return None if in_place and overwritten_is_read else argument


def _bound(node: fx.Node, *names: str) -> dict[str, Any]:
    """Return a call's arguments by name, None where not given."""
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    return {name: given.get(name) for name in names}


def _emit_linear(
    graph: fx.Graph, argument: fx.Node, weight: fx.Node, bias: fx.Node | None
) -> fx.Node:
    transposed = graph.call_method("t", (weight,))
    product = graph.call_function(torch.matmul, (argument, transposed))
    if bias is None:
        return product
    return graph.call_function(torch.ops.torchmodes.add.default, (product, bias))


def _emit_relu(graph: fx.Graph, argument: fx.Node) -> fx.Node:
    positive = graph.call_function(torch.gt, (argument, 0))
    mask = graph.call_method("type_as", (positive, argument))
    return graph.call_function(torch.ops.torchmodes.multiply.default, (argument, mask))
