"""torch.export: the model as a graph of ATen operators, run without its Python class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from torchmodes.modes import base


class Engine(base.Engine):
    """Runs the exported program's module: generated Python code that calls ATen operators."""

    program: ExportedProgram

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Export the module with the example inputs' shapes."""
        self.program = torch.export.export(module, args, kwargs, strict=self.options["strict"])
        return self.program.module()

    def facts(self) -> dict[str, Any]:
        """Count the nodes that call an operator."""
        return {"graph_nodes": count_operators(self.program)}

    def artefacts(self) -> list[Path]:
        """Save the archive that `torch.export.load` reads where the model's class is not."""
        archive = self.directory / "model.pt2"
        torch.export.save(self.program, archive)
        return [archive]


def count_operators(program: ExportedProgram) -> int:
    """Count the nodes of an exported program that call an operator."""
    return sum(node.op == "call_function" for node in program.graph.nodes)
