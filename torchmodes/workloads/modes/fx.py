"""FX: torch.fx.symbolic_trace, then graph passes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from torchmodes.config.modes import CUSTOM_OPERATORS, FUSE_CONV_BN, FxMode
from torchmodes.planning.cases import Case
from torchmodes.planning.user_code import load_function
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.fx_passes import graph_table, use_custom_operators
from torchmodes.workloads.operators.load import load_operators
from torchmodes.workloads.structures import Inputs


class FxEngine(base.Engine):
    """Runs the traced graph's generated Python code, rewritten by the mode's passes."""

    options: FxMode
    calls_modules = True
    graph_module: fx.GraphModule
    passes_without_effect: list[str]

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse models that cannot be traced with symbols, and a pass that ends training."""
        if family == "transformers":
            return base.Unsupported(
                "torch.fx.symbolic_trace fails on transformers models: their code looks at values",
                "use torch.export (engine export), or torchscript with method: trace",
            )
        if case.task == "training" and FUSE_CONV_BN in self.options.passes:
            return base.Unsupported(
                f"{FUSE_CONV_BN} is for inference: it fixes the statistics of batch norms",
                "train in a mode without that pass",
            )
        return None

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Trace the module symbolically and apply the passes in order."""
        traced = symbolic_trace(module, inputs)
        self.nodes_traced, self.passes_without_effect = len(traced.graph.nodes), []
        for name in self.options.passes:
            before = _nodes_and_modules(traced)
            traced = self._rewrite(traced, name)
            if _nodes_and_modules(traced) == before:
                self.passes_without_effect.append(name)
        traced.graph.lint()
        traced.recompile()
        self.graph_module = traced
        return traced

    def _rewrite(self, traced: fx.GraphModule, name: str) -> fx.GraphModule:
        if name == CUSTOM_OPERATORS:
            if self.operators is None:
                raise ValueError("the pass custom-operators needs the compiled operators")
            load_operators(self.operators)
            return use_custom_operators(traced)
        if name == FUSE_CONV_BN:
            fused = fuse(traced, inplace=True, no_trace=True)
            assert isinstance(fused, fx.GraphModule)
            return fused
        return load_function(name)(traced)

    def stats(self) -> dict[str, Any]:
        """Count the nodes before and after the passes, and name passes that changed nothing."""
        stats: dict[str, Any] = {
            "nodes_traced": self.nodes_traced,
            "nodes": len(self.graph_module.graph.nodes),
        }
        idle = self.passes_without_effect
        if idle:
            stats["passes_without_effect"] = idle
        if idle and len(idle) == len(self.options.passes):
            stats["no_effect"] = f"{', '.join(idle)} changed neither a node nor a module"
        return stats

    def export(self, directory: Path) -> list[str]:
        """Write the graph as text and as a table, and the generated code."""
        (directory / "graph.txt").write_text(str(self.graph_module.graph), encoding="utf-8")
        graph_table(self.graph_module).to_csv(directory / "graph.csv", index=False)
        (directory / "code.py").write_text(self.graph_module.code, encoding="utf-8")
        return ["graph.txt", "graph.csv", "code.py"]


def symbolic_trace(module: nn.Module, inputs: Inputs) -> fx.GraphModule:
    """Trace with symbols for what holds tensors; all else that `forward` takes is constant.

    As it is to torch.export: a symbol in the place of None is not None, and takes another branch.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise base.Refused(
            "the model is TorchScript: torch.fx reads Python's code, of which nothing is left",
            "build the model without it, or use method: script",
        )
    bound = inspect.signature(module.forward).bind(*inputs.args, **inputs.kwargs)
    bound.apply_defaults()
    constants = {
        name: value
        for name, value in bound.arguments.items()
        if value is None or isinstance(value, bool | int | float | str)
    }
    traced = fx.symbolic_trace(module, concrete_args=constants or None)
    for node in traced.graph.nodes:
        if node.op == "placeholder" and node.target.removesuffix("_1") in constants:
            node.target = node.target.removesuffix("_1")
            # The checks that it still has this value, at every call.
            for user in [*node.users]:
                _erase(traced.graph, user)
    traced.recompile()
    return traced


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    for user in [*node.users]:
        _erase(graph, user)
    graph.erase_node(node)


def _nodes_and_modules(traced: fx.GraphModule) -> list[str]:
    return [str(traced.graph), *(f"{name}: {child}" for name, child in traced.named_children())]
