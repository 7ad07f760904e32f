"""TorchScript: torch.jit.script or torch.jit.trace, and its passes for inference."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from torchmodes.config.modes import TorchScriptMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.structures import Flattened, Inputs, Structure, tensors_taken


class TorchScriptEngine(base.Engine):
    """Compiles the module to TorchScript; it can be saved and run without its Python class."""

    options: TorchScriptMode
    one_shape = True
    scripted: torch.jit.ScriptModule
    archived: torch.jit.ScriptModule

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse to script what has no source, and passes for inference in training."""
        if self.options.method == "script" and family == "transformers":
            return base.Unsupported(
                "torch.jit.script fails on transformers models: “Failed to get source”",
                "use method: trace, or torch.export (engine export)",
            )
        return base.inference_only(case, self.options, "freeze", "optimize_for_inference")

    def refuse_inputs(self, inputs: Inputs) -> None:
        """Refuse to trace what torch.jit.trace cannot copy."""
        if self.options.method == "trace":
            self.refuse((tensor.layout for tensor in inputs.tensors()), "trace", {torch.strided})

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Script the module, or trace it with the example inputs; then optimise it."""
        if self.options.method == "script":
            scripted = torch.jit.script(module)
            _refuse_none(scripted, inputs)
        else:
            scripted, self.returned = trace(module, inputs)
        before = node_kinds(scripted)
        # Both: the other freezes too, and a frozen module it would change in place, `archived` too.
        if self.options.freeze and not self.options.optimize_for_inference:
            scripted = torch.jit.freeze(scripted)
        call = self._optimized(scripted, inputs)
        if self.options.freeze or self.options.optimize_for_inference:
            self.made["graph_nodes_before"] = before.total()
            if node_kinds(self.scripted) == before:
                self.made["no_effect"] = "the passes for inference changed no node of the graph"
        return call

    def _optimized(self, archived: torch.jit.ScriptModule, inputs: Inputs) -> Callable[..., Any]:
        self.archived = self.scripted = archived
        if self.options.optimize_for_inference:
            self.scripted = torch.jit.optimize_for_inference(archived)
        return calling(self.scripted, self.returned, inputs)

    def stats(self) -> dict[str, Any]:
        """Count the nodes of the graph that runs, and before its passes for inference."""
        return {"graph_nodes": node_kinds(self.scripted).total(), **self.made}

    def save(self, folder: Path) -> list[Path]:
        """Save the archive that `torch.jit.load` reads where the model's class is not.

        It holds the module before `optimize_for_inference`, to be optimised again after loading:
        the constants in oneDNN's layout that this makes are lost in an archive.
        """
        archive = folder / "model.pt"
        torch.jit.save(self.archived, archive)
        return [archive]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Load the archive, and optimise it where the mode does."""
        return self._optimized(torch.jit.load(folder / "model.pt"), inputs)

    def export(self, directory: Path) -> list[str]:
        """Write the archive ``model.pt``, its code and its graph."""
        torch.jit.save(self.scripted, directory / "model.pt")
        (directory / "code.py").write_text(self.scripted.code, encoding="utf-8")
        (directory / "graph.txt").write_text(str(self.scripted.inlined_graph), encoding="utf-8")
        return ["model.pt", "code.py", "graph.txt"]


def _refuse_none(scripted: torch.jit.ScriptModule, inputs: Inputs) -> None:
    """Refuse None where TorchScript takes an argument to be a tensor: it would fail within."""
    _, *arguments = scripted._c._get_method("forward").schema.arguments  # the first is self
    given = {argument.name: value for argument, value in zip(arguments, inputs.args, strict=False)}
    given |= inputs.kwargs
    for argument in arguments:
        if argument.name in given and given[argument.name] is None and _is_tensor(argument.type):
            raise base.Refused(
                f"the input {argument.name!r} is None, and to TorchScript it is a tensor",
                f"annotate it in forward, {argument.name}: torch.Tensor | None, or trace",
            )


def _is_tensor(kind: Any) -> bool:
    return kind.kind() == "TensorType"


def calling(
    scripted: torch.jit.ScriptModule, returned: Structure | None, inputs: Inputs
) -> Callable[..., Any]:
    """Return a call of a trace, or of what passes made of it, by the module's own arguments."""
    if returned is None:
        return scripted
    take = None if returned.order is None else tensors_taken(inputs)

    def call(*args: Any, **kwargs: Any) -> Any:
        if take is None:
            return returned.filled(_pytree.tree_leaves(scripted(*args, **kwargs)))
        return returned.filled(scripted(*take(args, kwargs)))

    return call


def trace(module: nn.Module, inputs: Inputs) -> tuple[torch.jit.ScriptModule, Structure | None]:
    """Record the operators of one call; return the trace, and what the module itself returns.

    TorchScript has tensors, and lists, tuples and dictionaries of tensors; a module whose inputs or
    output hold anything else is traced as one that takes and returns tensors alone: then the
    structure has an `order`. There is none where the trace returns the module's own output.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise base.Refused("the model is TorchScript: nothing is to trace", "use method: script")
    if _can_be_traced(module, inputs):
        returned = _Returned()
        hook = module.register_forward_hook(returned)
        try:
            scripted = _trace(module, inputs)
        except _Nested:
            pass
        else:
            return scripted, returned.structure
        finally:
            hook.remove()
    flattened = Flattened(module, inputs)
    scripted = _trace(flattened, Inputs(tuple(inputs.tensors())))
    return scripted, flattened.returned(*inputs.tensors())


def _can_be_traced(module: nn.Module, inputs: Inputs) -> bool:
    """Whether torch.jit.trace takes the inputs: all positional, or all by a parameter's name."""
    args, kwargs = inputs.args, inputs.kwargs
    if (args and kwargs) or not all(map(_has_type, [*args, *kwargs.values()])):
        return False
    parameters = inspect.signature(module.forward).parameters.values()
    named = {one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD}
    return kwargs.keys() <= named


def _trace(module: nn.Module, inputs: Inputs) -> torch.jit.ScriptModule:
    """Trace; a module that returns a dictionary keeps it.

    Without ``strict=False`` PyTorch refuses dictionaries, such as those of transformers models,
    whose keys the inputs might change; here they are fixed.
    """
    return torch.jit.trace(
        module,
        example_inputs=inputs.args or None,
        example_kwarg_inputs=inputs.kwargs or None,
        strict=False,
    )


class _Nested(Exception):
    """The output is of no type that TorchScript has."""


class _Returned:
    """A forward hook that looks at the output; one that has no type in TorchScript ends it."""

    structure: Structure | None = None

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not _has_type(output):
            raise _Nested
        if type(output) not in (torch.Tensor, tuple, list, dict):
            self.structure = Structure.of(output)  # such as a named tuple: a plain one comes back


def _has_type(value: Any) -> bool:
    """Whether TorchScript has the type of a value: a tensor, or a container of tensors alone."""
    if isinstance(value, Mapping):
        value = list(value.values()) if all(isinstance(key, str) for key in value) else []
    if isinstance(value, tuple | list):
        return bool(value) and all(isinstance(item, torch.Tensor) for item in value)
    return isinstance(value, torch.Tensor)


def node_kinds(scripted: torch.jit.ScriptModule) -> Counter[str]:
    """Count the nodes of the inlined graph by kind, such as ``aten::linear``."""
    return Counter(node.kind() for node in scripted.inlined_graph.nodes())
