"""Outputs of the very calls that are timed, compared between samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.utils import _pytree

from torchmodes.measure.numerics import compare, incomparable
from torchmodes.results.records import Numerics
from torchmodes.workloads.models.base import Align
from torchmodes.workloads.structures import copy_output, dense, kinds_of

TIME_SHARE = 0.02
"""The most of the time since the first check that checks may take: large outputs are skipped."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
"""What is beside tensors and quickly told equal."""


class SpotChecks:
    """Compares what timed calls return with what the same calls returned before they were timed.

    Both sides are looked at, so that what a check does to caches, it does to both. An output that
    is the same bit for bit is right at once; any other is compared as outputs always are. `wrong`
    is the first that was not right, with the reason; `compared`, how many were looked at.

    Parameters
    ----------
    accepted
        By the side's call: its output for the inputs that are timed, already compared, on the host.
    kinds
        By the side's call: the classes of what its output holds; left out: those in `accepted`.
    expected
        The baseline's, on the host.
    judged
        Returns what counts of an output on the host.

    `compared` counts the outputs that were looked at; `wrong` is the first that was not right, with
    the reason, and `of` the call that returned it.
    """

    def __init__(
        self,
        accepted: Mapping[Any, object],
        *,
        expected: object,
        precision: str,
        device: str,
        kinds: Mapping[Any, frozenset[type]] | None = None,
        tolerance: float | None = None,
        align: Align | None = None,
        judged: Callable[[object], object] = lambda output: output,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accepted = {
            call: [
                leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf
                for leaf in _pytree.tree_leaves(output)
            ]
            for call, output in accepted.items()
        }
        self._kinds = kinds or {call: kinds_of(output) for call, output in accepted.items()}
        self._expected = expected
        self._compare = partial(compare, precision=precision, align=align, tolerance=tolerance)
        self._judged = judged
        self._now, self._began, self._spent_s = now, now(), 0.0
        self.compared = 0
        self.wrong: Numerics | None = None
        self.of: Any = None

    def look(self, call: Any, output: object) -> None:
        """Check an output of a side's call, if there is time for it."""
        began = self._now()
        if self.wrong is not None or self._spent_s > TIME_SHARE * (began - self._began):
            return
        self.compared += 1
        numerics = self._judge(call, output)
        if numerics is not None and not numerics.within_tolerance:
            reason = f"while it was timed: {numerics.reason}"
            self.wrong, self.of = numerics.model_copy(update={"reason": reason}), call
        self._spent_s += self._now() - began

    def _judge(self, call: Any, output: object) -> Numerics | None:
        """Compare an output; None where it is the same bit for bit."""
        if new := kinds_of(output) - self._kinds[call]:
            told = (
                f"the output holds a {sorted(kind.__name__ for kind in new)[0]}, unlike any before"
            )
            return incomparable(told, compared="output", tolerance=0.0)
        if _same(self._accepted[call], _pytree.tree_leaves(output)):
            return None
        return self._compare(self._expected, self._judged(copy_output(output)))


def _same(accepted: list[Any], leaves: list[Any]) -> bool:
    """Tell whether outputs are the same bit for bit, as far as that is quick to say."""
    return len(accepted) == len(leaves) and all(map(_alike, accepted, leaves))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return (one.device, one.dtype) == (other.device, other.dtype) and torch.equal(
            dense(one), dense(other)
        )
    return isinstance(one, _PLAIN) and type(one) is type(other) and one == other
