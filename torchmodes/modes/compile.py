"""torch.compile, with any backend that is installed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.cases import Case
from torchmodes.modes import base


class Engine(base.Engine):
    """Compiles the model, or in training the whole optimiser step (``scope: step``)."""

    compiled: Callable[..., Any]
    example: tuple[tuple[Any, ...], dict[str, Any]]

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse what PyTorch would skip silently or cannot build."""
        backend, mode = self.options["backend"], self.options["mode"]
        known = torch._dynamo.list_backends(exclude_tags=())
        if backend not in known:
            installed = ", ".join(torch._dynamo.list_backends())
            return base.Unsupported(
                f"torch.compile has no backend {backend!r}",
                f"use one of {installed}, or install it",
            )
        if mode != "default" and backend != "inductor":
            return base.Unsupported(
                f"mode {mode!r} belongs to the backend inductor, not {backend}", "use mode: default"
            )
        graphs = backend == "cudagraphs" or mode == "reduce-overhead"
        if graphs and case.device != "cuda":
            return base.Unsupported(
                f"CUDA graphs do not exist on {case.device}: PyTorch skips them silently",
                "run the case on cuda, or use backend: inductor with mode: default",
            )
        if backend == "inductor" and case.device == "cpu":
            return _missing_compiler()
        return None

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Wrap the module; compilation happens at the first call."""
        self.example = (args, kwargs)
        self.compiled = self._compile(module)
        return self.compiled

    def prepare_step(
        self,
        module: nn.Module,
        batch: tuple[torch.Tensor, torch.Tensor],
        make_step: Callable[[Callable[..., Any]], base.Step],
    ) -> base.Step:
        """Compile the module inside the step, or the step as a whole."""
        if self.options["scope"] == "model":
            return super().prepare_step(module, batch, make_step)
        self.example = (batch, {})
        self.compiled = self._compile(make_step(module))
        return self.compiled

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mode = self.options["mode"]
        self.source = function
        return torch.compile(
            function,
            backend=self.options["backend"],
            mode=None if mode == "default" else mode,
            dynamic=self.options["dynamic"],
            fullgraph=self.options["fullgraph"],
        )

    def facts(self) -> dict[str, Any]:
        """Read Dynamo's counters: graphs, breaks with their reasons, recompiles, skips."""
        counters = torch._dynamo.utils.counters
        compiles = torch._dynamo.convert_frame.FRAME_COMPILE_COUNTER
        graphs = counters["stats"]["unique_graphs"]
        facts = {
            "graphs": graphs,
            # Not counters["graph_break"]: that one misses branches that depend on data.
            "graph_breaks": dict(
                Counter(
                    _in_short(found.reason) for found in torch._dynamo.utils.graph_break_reasons
                )
            ),
            "recompiles": sum(count - 1 for count in compiles.values()),
            "cudagraph_skips": counters["inductor"]["cudagraph_skips"],
        }
        if graphs == 0:
            facts["no_effect"] = "torch.compile captured no graph: eager code ran"
        return facts

    def export(self, directory: Path) -> list[str]:
        """Write the counters, and the graphs and breaks that ``torch._dynamo.explain`` finds.

        Explaining runs the function once more, in eager: a compiled step takes an optimiser step.
        """
        (directory / "counters.json").write_text(json.dumps(self.facts(), indent=1))
        args, kwargs = self.example
        explained = torch._dynamo.explain(self.source)(*args, **kwargs)
        graphs = [graph.print_readable(print_output=False) for graph in explained.graphs]
        (directory / "graph.txt").write_text("\n\n".join(graphs), encoding="utf-8")
        (directory / "graph_breaks.txt").write_text(str(explained), encoding="utf-8")
        return ["counters.json", "graph.txt", "graph_breaks.txt"]


def _in_short(reason: str) -> str:
    """Give what a graph break is and its explanation, without hints and addresses."""
    if reason.startswith("generic_jump"):
        return f"branch that depends on the data of a tensor ({reason})"
    what, *more = (line.strip() for line in reason.splitlines())
    explanation = [line.removeprefix("Explanation: ") for line in more[:1]]
    return ": ".join([what, *explanation])


def _missing_compiler() -> base.Unsupported | None:
    """Inductor writes C++ for a CPU and needs a compiler for it."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return base.Unsupported(
            "TorchInductor found no C++ compiler, which it needs on a CPU",
            "install one (Debian: apt-get install g++; macOS: xcode-select --install) or set CXX",
        )
    return None
