"""FX: torch.fx.symbolic_trace, then graph passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import fx, nn

from torchmodes.modes import CUSTOM_OPERATORS, base
from torchmodes.modes.fx_passes import describe_graph, use_custom_operators
from torchmodes.operators import load_operators
from torchmodes.user_code import load_function


class Engine(base.Engine):
    """Runs the traced graph's generated Python code, rewritten by the mode's passes."""

    graph_module: fx.GraphModule

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Trace the module symbolically and apply the passes in order."""
        traced = fx.symbolic_trace(module)
        self.nodes_traced = len(traced.graph.nodes)
        for name in self.options["passes"]:
            traced = self._rewrite(traced, name)
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
        return load_function(name)(traced)

    def facts(self) -> dict[str, Any]:
        """Count the nodes before and after the passes."""
        return {"nodes_traced": self.nodes_traced, "nodes": len(self.graph_module.graph.nodes)}

    def export(self, directory: Path) -> list[str]:
        """Write the graph as text and as a table, and the generated code."""
        description = describe_graph(self.graph_module)
        (directory / "graph.txt").write_text(description.text, encoding="utf-8")
        description.table.to_csv(directory / "graph.csv", index=False)
        (directory / "code.py").write_text(description.code, encoding="utf-8")
        return ["graph.txt", "graph.csv", "code.py"]
