"""When a run is precise enough to stop: a rule on the interval's width, never its centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torchmodes.measure.statistics import effect

GROWTH = 1.25


class StoppingRule:
    """Stop once the (relative) interval was narrow enough at two looks in a row.

    Looks come at geometrically growing numbers of blocks, which keeps their cost and their number
    small. A run that stops at its first narrow look stops too often on a variance that is low by
    luck: coverage then falls to 93 % or less. The second look restores it (docs/measuring.md has
    the simulation).
    """

    def __init__(self, *, target_half_width: float, min_quads: int) -> None:
        self._target = target_half_width
        self._next_look = min_quads
        self._narrow_before = False

    def enough(self, ratios: Sequence[float]) -> bool:
        """Tell whether to stop, given the log-ratios of all blocks so far, in order."""
        if len(ratios) < self._next_look:
            return False
        self._next_look = max(len(ratios) + 1, math.ceil(len(ratios) * GROWTH))
        half_width = effect(ratios).half_width
        narrow = half_width is not None and half_width < self._target
        enough = narrow and self._narrow_before
        self._narrow_before = narrow
        return enough
