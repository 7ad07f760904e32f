"""torch.export: the model as a graph of ATen operators, run without its Python class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree

from torchmodes.config.modes import ExportMode
from torchmodes.results.reasons import cause_of, reason_of
from torchmodes.workloads.batches import vary
from torchmodes.workloads.modes import base
from torchmodes.workloads.structures import Inputs, Structure, register_dataclasses

UNSCRIPTED = "build the model without it, or use eager or torchscript"
TERMS = 2
"""Of a sum of sizes that a refusal tells."""


class ExportEngine(base.Engine):
    """Runs the exported program's module: generated Python code that calls ATen operators."""

    options: ExportMode
    one_shape = True
    program: ExportedProgram

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Export the module with the example inputs' shapes, but for what differs in a schedule."""
        self.program = capture(module, inputs, self.batches, strict=self.options.strict)
        return self.program.module()

    def stats(self) -> dict[str, Any]:
        """Count the nodes that call an operator."""
        return {"graph_nodes": count_operators(self.program)}

    def save(self, folder: Path) -> list[Path]:
        """Save the archive that `torch.export.load` reads where the model's class is not."""
        archive = folder / "model.pt2"
        self.returned = Structure.of_output(self.program)
        if holds_more(self.returned):  # what is called is a copy
            with_tensors_alone(self.program)
        torch.export.save(self.program, archive)
        return [archive]

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Load the archive."""
        self.program = torch.export.load(folder / "model.pt2")
        assert self.returned is not None
        return filling(self.program.module(), self.returned)


def capture(
    module: nn.Module,
    inputs: Inputs,
    batches: Sequence[Inputs] = (),
    *,
    strict: bool = False,
    dynamic_shapes: dict[str, Any] | None = None,
) -> ExportedProgram:
    """Export a module; it may return dataclasses that nobody registered with PyTorch.

    Raises
    ------
    torchmodes.workloads.modes.base.Refused
        When what it computes depends on values in its tensors, as a detector's number of boxes
        does, in a way that one graph cannot follow; or when it cannot be exported with those sizes
        free that differ between the batches.
    """
    if isinstance(module, torch.jit.ScriptModule):  # which takes no hook either
        raise _refused("cannot take what torch.jit.script compiled: the model", UNSCRIPTED)
    free = free_sizes(module, inputs, batches) if vary(batches) else None
    # Its code runs as it is unless TorchDynamo reads it, and that would read the hook too.
    hook = None if strict else module.register_forward_hook(_learn_dataclasses)
    try:
        return torch.export.export(
            module, inputs.args, inputs.kwargs, strict=strict, dynamic_shapes=free or dynamic_shapes
        )
    except (GuardOnDataDependentSymNode, DataDependentOutputException) as error:
        raise _refused(
            f"needs one graph, but the model decides by values: {_shortened(cause_of(error))}",
            "use eager, torch.compile or torch.jit.trace, or torch.cond in the model",
        ) from error
    except AttributeError as error:
        if "__obj_flatten__" not in str(error):
            raise
        raise _refused(
            "cannot take packed int8 parameters, which the model holds as objects of TorchScript",
            "use eager or torch.jit.trace; or a model in fp32, in a mode that quantises it",
        ) from error
    except Exception as error:
        scripted = [n for n, p in module.named_modules() if isinstance(p, torch.jit.ScriptModule)]
        if scripted:
            told = f"{scripted[0]} ({reason_of(error)})"
            raise _refused(
                f"cannot take what torch.jit.script compiled: {told}", UNSCRIPTED
            ) from error
        if free is None:
            raise
        why = f"fixes a size that differs between batches: {reason_of(error)}"
        raise _refused(why, base.ONE_SHAPE) from error
    finally:
        if hook is not None:
            hook.remove()


def _shortened(cause: str) -> str:
    """Cut a sum of many unknown sizes, such as the boxes of each class of a detector, to two."""
    terms = cause.split(" + ")
    return cause if len(terms) <= TERMS else " + ".join([*terms[:TERMS], "…"])


def _refused(why: str, remedy: str) -> base.Refused:
    return base.Refused(f"torch.export {why}", remedy)


def free_sizes(module: nn.Module, inputs: Inputs, batches: Sequence[Inputs]) -> dict[str, Any]:
    """Return the `dynamic_shapes` for torch.export in which what differs between batches is free.

    The inputs are one of the batches, which are alike but for the sizes of their tensors; the
    module's forward names them.
    """
    shapes = zip(*([tensor.shape for tensor in batch.tensors()] for batch in batches), strict=True)
    free = (
        {
            dimension: torch.export.Dim.DYNAMIC
            for dimension, sizes in enumerate(zip(*of_tensor, strict=True))
            if len(set(sizes)) > 1
        }
        for of_tensor in shapes
    )
    return named_by_forward(module, inputs, lambda tensor: next(free))


def named_by_forward(
    module: nn.Module, inputs: Inputs, mark: Callable[[torch.Tensor], Any]
) -> dict[str, Any]:
    """Name inputs as a module's forward does, with a mark for each tensor and None for the rest."""

    def marked(leaf: Any) -> Any:
        return mark(leaf) if isinstance(leaf, torch.Tensor) else None

    given = Inputs(*_pytree.tree_map(marked, (inputs.args, inputs.kwargs)))
    return dict(given.call(inspect.signature(module.forward).bind).arguments)


def _learn_dataclasses(module: nn.Module, args: Any, output: Any) -> None:
    register_dataclasses(output)


def holds_more(returned: Structure) -> bool:
    """Whether an output holds what no archive can return: neither tensor, integer nor None."""
    return any(not isinstance(held, int | None) for held in returned.constants)


def filling(call: Callable[..., Any], returned: Structure) -> Callable[..., Any]:
    """Return the call of a program that returns `with_tensors_alone` if its output holds more."""
    if not holds_more(returned):
        return call
    return lambda *args, **kwargs: returned.filled(call(*args, **kwargs))


def with_tensors_alone(program: ExportedProgram) -> ExportedProgram:
    """Let an exported program return its tensors in a tuple, in place.

    torch.onnx.export fails on numbers and texts in an output, AOTInductor on some, and
    torch.export.load on what torch.export.save wrote of them.
    """
    output, specs = program.graph.output_node(), program.graph_signature.output_specs
    returned: Any = output.args[0]
    pairs = list(zip(returned, specs, strict=True))
    kept = [(node, spec) for node, spec in pairs if not isinstance(spec.arg, ConstantArgument)]
    output.args = (tuple(node for node, _ in kept),)
    specs[:] = [spec for _, spec in kept]
    users = sum(spec.kind == OutputKind.USER_OUTPUT for spec in specs)
    signature = program.module_call_graph[0].signature
    assert signature is not None, "the root has one"
    signature.out_spec = _pytree.tree_structure((0,) * users)
    return program


def module_path(node: fx.Node) -> str | None:
    """Return the path of the innermost module that a node of a captured graph comes from."""
    around = node.meta.get("nn_module_stack")
    return next(reversed(around.values()))[0] if around else None


def count_operators(program: ExportedProgram) -> int:
    """Count the nodes of an exported program that call an operator."""
    return sum(node.op == "call_function" for node in program.graph.nodes)
