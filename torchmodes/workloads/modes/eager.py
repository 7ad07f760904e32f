"""Eager: PyTorch as it is, the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from torchmodes.config.modes import EagerMode
from torchmodes.planning.cases import Case
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.precision import HALF
from torchmodes.workloads.structures import Inputs

CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "grad": torch.enable_grad,
}


class EagerEngine(base.Engine):
    """Calls the module, in the autograd context, memory format and autocast that were asked for."""

    options: EagerMode
    calls_modules = True
    channels_last_tensors = 0

    @property
    def lowers_precision(self) -> bool:
        """Autocast lowers operators, not weights."""
        return self.options.autocast

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse options that the case would ignore."""
        context = self.options.context
        if case.task == "training" and context != "inference_mode":
            return base.Unsupported(
                f"context: {context} is for inference; a training step always records gradients",
                "train in a mode that does not set `context`",
            )
        if case.task == "generation" and (context == "grad" or self.options.autocast):
            option = "context: grad" if context == "grad" else "autocast: true"
            return base.Unsupported(
                f"{option} does not generate text: a cache holds no gradients, and one precision",
                f"generate in a mode without {option}",
            )
        if self.options.autocast and case.precision not in HALF:
            return base.Unsupported(
                f"autocast computes in a half precision, not in {case.precision}",
                "ask for the precision bf16 or fp16",
            )
        return None

    def context(self) -> AbstractContextManager[Any]:
        """Return the autograd context of the options."""
        return CONTEXTS[self.options.context]()

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Return the module, or a call that puts it under autocast."""
        if self.options.channels_last:
            module = self._in_channels_last(module, inputs)
        if not self.options.autocast:
            return module
        device = inputs.tensors()[0].device.type
        dtype = HALF[self.precision]

        def under_autocast(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(device, dtype=dtype):
                return module(*args, **kwargs)

        return under_autocast

    def prepare_step(
        self,
        module: nn.Module,
        batch: tuple[Any, Any],
        make_step: Callable[[Callable[..., Any]], base.Step],
    ) -> base.Step:
        """Return the step around the module; half-precision training is autocast in every mode."""
        if self.options.channels_last:
            module = self._in_channels_last(module, Inputs())  # batches come as they are
        return make_step(module)

    def _in_channels_last(self, module: nn.Module, inputs: Inputs) -> nn.Module:
        """Put weights and inputs of four dimensions into NHWC, in place, and count them."""
        module = module.to(memory_format=torch.channels_last)
        given = [tensor for batch in self.batches or [inputs] for tensor in batch.tensors()]
        tensors = [*module.parameters(), *given]
        images = [tensor for tensor in tensors if tensor.dim() == 4]
        for tensor in images:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        self.channels_last_tensors = len(images)
        return module

    def stats(self) -> dict[str, Any]:
        """Count the tensors in channels_last; a model without images or convolutions has none."""
        if not self.options.channels_last:
            return {}
        stats: dict[str, Any] = {"channels_last_tensors": self.channels_last_tensors}
        if not self.channels_last_tensors:
            stats["no_effect"] = "no weight or input has four dimensions: eager code ran as it is"
        return stats
