"""Structures: the nesting in which a model takes its inputs and returns its output.

Some engines know only tensors. For them nested inputs are flattened and outputs put together again,
in the order of PyTorch's trees, which is that of torch.export and torch.onnx.export.
"""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils import _pytree


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The arguments of one call of a model."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        register_dataclasses((self.args, self.kwargs))

    @classmethod
    def of(cls, value: Any) -> Inputs:
        """Wrap a tensor, a tuple or list (positional) or a mapping (keywords)."""
        if isinstance(value, Inputs):
            return value
        if isinstance(value, Mapping):
            return cls(kwargs=dict(value))
        return cls(args=tuple(value) if isinstance(value, (tuple, list)) else (value,))

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """Apply a function to every tensor."""
        return Inputs(*_pytree.tree_map_only(torch.Tensor, function, (self.args, self.kwargs)))

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a function with these arguments."""
        return function(*self.args, **self.kwargs)

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors, in order."""
        return tensors_of((self.args, self.kwargs))

    def is_like(self, other: Inputs) -> bool:
        """Tell whether these can be copied over others: all but the values is the same."""
        leaves, structure = _pytree.tree_flatten((self.args, self.kwargs))
        others, other_structure = _pytree.tree_flatten((other.args, other.kwargs))
        return structure == other_structure and all(map(_alike, leaves, others))

    def equals(self, other: Inputs) -> bool:
        """Tell whether others that are like these hold the same values."""
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        return all(torch.equal(dense(a.cpu()), dense(b.cpu())) for a, b in pairs)


def _alike(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and (one == other) is True
    return (one.shape, one.dtype, one.layout) == (other.shape, other.dtype, other.layout)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return the tensors of any nesting of containers, in order."""
    return [leaf for leaf in _pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def kinds_of(value: Any) -> frozenset[type]:
    """Return the classes of what any nesting of containers holds."""
    return frozenset(map(type, _pytree.tree_leaves(value)))


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return a sparse tensor with its zeros, and any other as it is."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor.clone().to_dense()  # one of inference mode only as a copy, outside of it


def register_dataclasses(value: Any) -> None:
    """Let PyTorch's trees look into the dataclasses of a value.

    In one that they do not know they see no tensors: none is moved, copied or exported.
    """
    for leaf in _pytree.tree_leaves(value):
        if _can_be_registered(leaf):
            _register_dataclass(type(leaf))
            register_dataclasses(value)
            return


def _register_dataclass(kind: type) -> None:
    name = f"{kind.__module__}.{kind.__qualname__}"  # without one no program can be saved
    torch.export.register_dataclass(kind, serialized_type_name=name)


def copy_output(output: Any) -> Any:
    """Copy an output's tensors to the host; CUDA graphs overwrite theirs at the next call."""
    register_dataclasses(output)
    return _pytree.tree_map_only(torch.Tensor, lambda t: t.detach().cpu().clone(), output)


def _can_be_registered(leaf: Any) -> bool:
    return (
        dataclasses.is_dataclass(leaf)
        and not isinstance(leaf, type | Mapping)  # transformers registers its own
        and all(field.init for field in dataclasses.fields(leaf))
    )


Take = Callable[[tuple[Any, ...], dict[str, Any]], list[Any]]
"""What takes the tensors out of the arguments of a call, in order."""


def tensors_taken(example: Inputs) -> Take:
    """Return what takes tensors from where those of an example are: no look at every leaf."""
    leaves, _ = _pytree.tree_flatten_with_path((example.args, example.kwargs))
    paths = [path for path, leaf in leaves if isinstance(leaf, torch.Tensor)]

    def take(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        for path in paths:
            value: Any = (args, kwargs)
            for key in path:
                value = key.get(value)
            found.append(value)
        return found

    return take


@dataclasses.dataclass(frozen=True)
class Structure:
    """A nesting of containers with places for tensors.

    Attributes
    ----------
    spec
        The containers.
    constants
        Everything in them, in order; anything at the places of tensors.
    places
        Where the tensors are among the `constants`.
    dtypes
        Of the tensors, where they are known beforehand.
    order
        Which of the tensors that are given comes to which place, where one stands at several.
    """

    spec: _pytree.TreeSpec
    constants: tuple[Any, ...]
    places: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...] = ()
    order: tuple[int, ...] | None = None

    @classmethod
    def of(cls, value: Any) -> Structure:
        """Describe a value; its tensors are not kept."""
        leaves, spec = _pytree.tree_flatten(value)
        places = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor))
        kept = tuple(None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
        return cls(spec, kept, places)

    @classmethod
    def of_output(cls, program: ExportedProgram) -> Structure:
        """Describe what an exported program returns: tensors, and constants that it holds.

        Raises
        ------
        ValueError
            When it returns no tensor.
        """
        given = _returned(program)
        places = tuple(i for i, arg in enumerate(given) if not isinstance(arg, ConstantArgument))
        if not places:
            raise _no_tensor([arg.value for arg in given])
        kept = tuple(arg.value if isinstance(arg, ConstantArgument) else None for arg in given)
        return cls(program.call_spec.out_spec, kept, places, tuple(returned_dtypes(program)))

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Structure:
        """Read what `to_json` returned, in any process that has the classes of the containers."""
        for name in told["dataclasses"]:
            kind = pkgutil.resolve_name(name)
            if kind not in _pytree.SUPPORTED_NODES:
                _register_dataclass(kind)
        order = told["order"]
        return cls(
            _pytree.treespec_loads(json.dumps(told["spec"])),
            tuple(told["constants"]),
            tuple(told["places"]),
            tuple(getattr(torch, name) for name in told["dtypes"]),
            None if order is None else tuple(order),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that say the same.

        Raises
        ------
        NotImplementedError, TypeError, ValueError
            When a container or a constant has no form in JSON.
        AttributeError
            When a dataclass is not found by its name, as one within a function.
        """
        kinds = {kind for kind in _containers(self.spec) if dataclasses.is_dataclass(kind)}
        names = [f"{k.__module__}:{k.__qualname__}" for k in kinds if not issubclass(k, Mapping)]
        for name in names:
            pkgutil.resolve_name(name)
        json.dumps(self.constants, allow_nan=False)
        return {
            "spec": json.loads(_pytree.treespec_dumps(self.spec)),
            "dataclasses": sorted(names),
            "constants": list(self.constants),
            "places": list(self.places),
            "dtypes": [str(dtype).removeprefix("torch.") for dtype in self.dtypes],
            "order": self.order,
        }

    def filled(self, tensors: Sequence[Any]) -> Any:
        """Put tensors into their places.

        Raises
        ------
        ValueError
            When there are more or fewer than places.
        """
        if self.order is not None:
            tensors = [tensors[i] for i in self.order]
        if self.spec.is_leaf() and len(tensors) == len(self.places) == 1:
            return tensors[0]
        if len(tensors) != len(self.places):
            raise ValueError(
                f"the model returns {len(self.places)} tensors, the engine {len(tensors)}"
            )
        leaves = list(self.constants)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        return _pytree.tree_unflatten(leaves, self.spec)


def _containers(spec: _pytree.TreeSpec) -> Iterator[type]:
    if not spec.is_leaf():
        yield spec.type
        for child in spec.children():
            yield from _containers(child)


def returned_dtypes(program: ExportedProgram) -> list[torch.dtype]:
    """Return the types of the tensors in what an exported program returns, in order."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    # A number that depends on data is a symbol here, and a tensor where tensors alone are known.
    return [
        getattr(values[arg.name], "dtype", torch.int64)
        for arg in _returned(program)
        if not isinstance(arg, ConstantArgument)
    ]


def _returned(program: ExportedProgram) -> list[Any]:
    specs = program.graph_signature.output_specs
    return [spec.arg for spec in specs if spec.kind == OutputKind.USER_OUTPUT]


def _no_tensor(leaves: list[Any]) -> ValueError:
    kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves})) or "nothing"
    return ValueError(f"the model returns no tensor but {kinds}: there is nothing to compute")


class Flattened(nn.Module):
    """A module that takes and returns tensors alone.

    What its inputs hold beside tensors is constant, as it is to torch.export.
    """

    def __init__(self, module: nn.Module, example: Inputs) -> None:
        super().__init__()
        self.module = module
        self.training = module.training
        self._taken = Structure.of((example.args, example.kwargs))
        self._seen = _Seen()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the module and return the tensors of its output, none of them twice."""
        args, kwargs = self._taken.filled(tensors)
        output = self.module(*args, **kwargs)
        register_dataclasses(output)
        found = tensors_of(output)
        if not found:
            raise _no_tensor(_pytree.tree_leaves(output))
        different = {id(tensor): tensor for tensor in found}
        order = list(different)
        self._seen.structure = dataclasses.replace(
            Structure.of(output), order=tuple(order.index(id(tensor)) for tensor in found)
        )
        return tuple(different.values())

    def returned(self, *tensors: torch.Tensor) -> Structure:
        """Return the module's own output, of the tensors that `forward` returned or stands for.

        It runs on these tensors where it has not so far: TorchDynamo reads code and runs none.
        """
        if self._seen.structure is None:
            self(*tensors)
        assert self._seen.structure is not None, "forward has run"
        return self._seen.structure


class _Seen:
    """What a call returned; no attribute of the module, for torch.export watches those."""

    structure: Structure | None = None
