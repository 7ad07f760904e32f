"""The user's own engine: a function in a file of theirs."""

from __future__ import annotations

from collections.abc import Callable
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

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Hand the module and its example inputs (a tuple, or a dict) to the user's function."""
        self.own_threads = self.options.own_threads
        prepared = load_function(self.options.factory)(
            module, inputs.kwargs or inputs.args, **self.options.options
        )
        if not callable(prepared):
            raise ValueError(
                f"{self.options.factory} returned {type(prepared).__name__}, not a callable"
            )
        return prepared
