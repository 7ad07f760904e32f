"""The user's own engine: a function in a file of theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from torchmodes.config.modes import UserMode
from torchmodes.planning.user_code import load_function
from torchmodes.workloads.modes import base
from torchmodes.workloads.structures import Inputs


class UserEngine(base.Engine):
    """Calls ``prepare(model, inputs, **options)`` and runs what it returns."""

    options: UserMode
    precisions = base.Engine.precisions | {"int8", "int4", "fp8"}  # a function may quantise
    code: Mapping[tuple[Any, str], object]

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Hand the module and its example inputs (a tuple, or a dict) to the user's function."""
        self.own_threads = self.options.own_threads
        self.code = _code(module)
        prepared = load_function(self.options.factory)(
            module, inputs.kwargs or inputs.args, **self.options.options
        )
        if not callable(prepared):
            raise ValueError(
                f"{self.options.factory} returned {type(prepared).__name__}, not a callable"
            )
        return prepared

    def replaced(self, other: nn.Module) -> list[str]:
        """Name what the function replaced in classes, and their files, that another module has."""
        now = _code(other)
        return [
            f"{place.__name__}.{name} replaced"
            for (place, name), value in self.code.items()
            if now.get((place, name), value) is not value
        ]


def _code(module: nn.Module) -> dict[tuple[Any, str], object]:
    """Return what can be called in the classes of a module's parts, and in their files."""
    classes = {type(part) for part in module.modules()}
    files = {sys.modules[kind.__module__] for kind in classes if kind.__module__ in sys.modules}
    return {
        (place, name): value
        for place in (*classes, *files)
        for name, value in vars(place).items()
        if callable(value)
    }
