"""What an engine is: it says whether it can, prepares a module, and tells what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.cases import Case

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""One optimiser step: features and target of a batch in, the loss out."""


@dataclass(frozen=True)
class Unsupported:
    """Why a case cannot run here, and what the user can do about it."""

    reason: str
    remedy: str


class Engine:
    """A way of executing a module. Eager is this class as it stands; engines change what differs.

    One engine serves one case in one process: what it did (graphs, breaks) is read from
    process-wide counters.
    """

    def __init__(self, options: Mapping[str, Any], *, operators: Path | None = None) -> None:
        self.options = options
        self.operators = operators

    def supports(self, case: Case, *, family: str) -> Unsupported | None:
        """Say before any work why the case cannot run, or None when nothing is known against it."""
        return None

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[..., Any]:
        """Return what is called in the module's place.

        Parameters
        ----------
        module
            In the mode (training or evaluation), precision and device of the case; the engine owns
            it and may change it.
        args, kwargs
            Example inputs.
        """
        return module

    def prepare_step(
        self,
        module: nn.Module,
        batch: tuple[torch.Tensor, torch.Tensor],
        make_step: Callable[[Callable[..., Any]], Step],
    ) -> Step:
        """Return one optimiser step that executes the module this engine's way.

        Parameters
        ----------
        module
            In training mode; its parameters are those the optimiser holds.
        batch
            Example features and target.
        make_step
            Builds the step around whatever is called in the module's place.
        """
        return make_step(self.prepare(module, (batch[0],), {}))

    def facts(self) -> dict[str, Any]:
        """Tell what was done, after it ran, as JSON values; ``no_effect`` says that it was nothing."""
        return {}

    def export(self, directory: Path) -> list[str]:
        """Write what makes the mode worth a look into a directory; return the files' names."""
        return []
