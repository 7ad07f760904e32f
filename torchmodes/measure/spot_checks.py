"""Outputs of the very calls that are timed, compared between samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from torchmodes.measure.numerics import compare
from torchmodes.results.records import Numerics
from torchmodes.workloads.models.base import Align
from torchmodes.workloads.structures import copy_output, dense, tensors_of

TIME_SHARE = 0.02
"""The most of the time since the first check that checks may take: large outputs are skipped."""


class SpotChecks:
    """Compares what timed calls return with what the same calls returned before they were timed.

    Both sides are looked at, so that what a check does to caches, it does to both. An output that
    is the same bit for bit is right at once; any other is compared as outputs always are. `wrong`
    is the first that was not right, with the reason; `compared`, how many were looked at.

    Parameters
    ----------
    accepted
        By the side's call: its output for the inputs that are timed, already compared, on the host.
    expected
        The baseline's, on the host.
    judged
        Returns what counts of an output on the host.
    """

    def __init__(
        self,
        accepted: Mapping[Any, object],
        *,
        expected: object,
        precision: str,
        device: str,
        tolerance: float | None = None,
        align: Align | None = None,
        judged: Callable[[object], object] = lambda output: output,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accepted = {
            call: [tensor.to(device) for tensor in tensors_of(output)]
            for call, output in accepted.items()
        }
        self._expected = expected
        self._compare = partial(compare, precision=precision, align=align, tolerance=tolerance)
        self._judged = judged
        self._now, self._began, self._spent_s = now, now(), 0.0
        self.compared = 0
        self.wrong: Numerics | None = None

    def look(self, call: Any, output: object) -> None:
        """Check an output of a side's call, if there is time for it."""
        began = self._now()
        if self.wrong is not None or self._spent_s > TIME_SHARE * (began - self._began):
            return
        self.compared += 1
        if not _same(self._accepted[call], tensors_of(output)):
            found = self._judged(copy_output(output))
            numerics = self._compare(self._expected, found)
            if not numerics.within_tolerance:
                reason = f"while it was timed: {numerics.reason}"
                self.wrong = numerics.model_copy(update={"reason": reason})
        self._spent_s += self._now() - began


def _same(accepted: list[torch.Tensor], tensors: list[torch.Tensor]) -> bool:
    """Tell whether tensors are the same bit for bit, as far as that is quick to say."""
    return len(accepted) == len(tensors) and all(
        one.device == other.device
        and one.dtype == other.dtype
        and torch.equal(dense(one), dense(other))
        for one, other in zip(accepted, tensors, strict=True)
    )
