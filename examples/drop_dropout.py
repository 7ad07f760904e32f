"""A graph pass of your own: leave out what does nothing in inference.

In config.yaml:

    modes:
      fx-without-dropout: { engine: fx, passes: [examples/drop_dropout.py:drop_dropout] }

A pass takes the traced `torch.fx.GraphModule` and returns one. If it changes nothing (a model
without dropout), the record of the case says so.
"""

from __future__ import annotations

from torch import fx, nn

NOTHING_IN_INFERENCE = (nn.Dropout, nn.Dropout2d, nn.Identity)


def drop_dropout(traced: fx.GraphModule) -> fx.GraphModule:
    """Remove dropout and identity layers: each call of one is a Python call for nothing."""
    for node in list(traced.graph.nodes):
        if node.op != "call_module":
            continue
        layer = traced.get_submodule(str(node.target))
        if isinstance(layer, NOTHING_IN_INFERENCE) and not layer.training:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    return traced
