"""TorchScript: torch.jit.script or torch.jit.trace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.cases import Case
from torchmodes.modes import base


class Engine(base.Engine):
    """Compiles the module to TorchScript; it can be saved and run without its Python class."""

    scripted: torch.jit.ScriptModule

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """TorchScript ends with Python 3.13."""
        if sys.version_info >= (3, 14):
            return base.Unsupported(
                "TorchScript does not support Python 3.14 and later",
                "use Python 3.13 or torch.export",
            )
        return None

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Script the module, or trace it with the example inputs."""
        if self.options["method"] == "script":
            self.scripted = torch.jit.script(module)
        else:
            self.scripted = torch.jit.trace(
                module, example_inputs=args or None, example_kwarg_inputs=kwargs or None
            )
        return self.scripted

    def facts(self) -> dict[str, Any]:
        """Count the nodes of the graph that runs."""
        return {"graph_nodes": len(list(self.scripted.inlined_graph.nodes()))}

    def export(self, directory: Path) -> list[str]:
        """Write the archive ``model.pt``, its code and its graph."""
        torch.jit.save(self.scripted, directory / "model.pt")
        (directory / "code.py").write_text(self.scripted.code, encoding="utf-8")
        (directory / "graph.txt").write_text(str(self.scripted.inlined_graph), encoding="utf-8")
        return ["model.pt", "code.py", "graph.txt"]
