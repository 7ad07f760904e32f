"""TorchScript: torch.jit.script or torch.jit.trace, and its passes for inference."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.cases import Case
from torchmodes.modes import base


class Engine(base.Engine):
    """Compiles the module to TorchScript; it can be saved and run without its Python class."""

    trains = True
    scripted: torch.jit.ScriptModule
    archived: torch.jit.ScriptModule
    before: Counter[str] | None = None

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """TorchScript ends with Python 3.13, and reads source that transformers does not keep."""
        if sys.version_info >= (3, 14):
            return base.Unsupported(
                "TorchScript does not support Python 3.14 and later",
                "use Python 3.13 or torch.export",
            )
        if self.options["method"] == "script" and family == "transformers":
            return base.Unsupported(
                "torch.jit.script fails on transformers models: “Failed to get source”",
                "use method: trace, or torch.export (engine export)",
            )
        return base.inference_only(case, self.options, "freeze", "optimize_for_inference")

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Script the module, or trace it with the example inputs; then optimise it."""
        if self.options["method"] == "script":
            self.scripted = torch.jit.script(module)
        else:
            self.scripted = trace(module, args, kwargs)
        if self.options["freeze"] or self.options["optimize_for_inference"]:
            self.before = node_kinds(self.scripted)
        # Both: the other freezes too, and a frozen module it would change in place, `archived` too.
        if self.options["freeze"] and not self.options["optimize_for_inference"]:
            self.scripted = torch.jit.freeze(self.scripted)
        self.archived = self.scripted
        if self.options["optimize_for_inference"]:
            self.scripted = torch.jit.optimize_for_inference(self.scripted)
        return self.scripted

    def facts(self) -> dict[str, Any]:
        """Count the nodes of the graph that runs, and before its passes for inference."""
        after = node_kinds(self.scripted)
        facts: dict[str, Any] = {"graph_nodes": after.total()}
        if self.before is not None:
            facts["graph_nodes_before"] = self.before.total()
            if after == self.before:
                facts["no_effect"] = "the passes for inference changed no node of the graph"
        return facts

    def artefacts(self) -> list[Path]:
        """Save the archive that `torch.jit.load` reads where the model's class is not.

        It holds the module before `optimize_for_inference`, to be optimised again after loading:
        the constants in oneDNN's layout that this makes are lost in an archive.
        """
        archive = self.directory / "model.pt"
        torch.jit.save(self.archived, archive)
        return [archive]

    def export(self, directory: Path) -> list[str]:
        """Write the archive ``model.pt``, its code and its graph."""
        torch.jit.save(self.scripted, directory / "model.pt")
        (directory / "code.py").write_text(self.scripted.code, encoding="utf-8")
        (directory / "graph.txt").write_text(str(self.scripted.inlined_graph), encoding="utf-8")
        return ["model.pt", "code.py", "graph.txt"]


def trace(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.jit.ScriptModule:
    """Record the operators of one call; a model that returns a dictionary keeps it.

    Without ``strict=False`` PyTorch refuses dictionaries, such as those of transformers models,
    whose keys the inputs might change; here they are fixed.
    """
    return torch.jit.trace(
        module, example_inputs=args or None, example_kwarg_inputs=kwargs or None, strict=False
    )


def node_kinds(scripted: torch.jit.ScriptModule) -> Counter[str]:
    """Count the nodes of the inlined graph by kind, such as ``aten::linear``."""
    return Counter(node.kind() for node in scripted.inlined_graph.nodes())
