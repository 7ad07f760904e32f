"""After how many calls a mode has paid its preparation back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torchmodes.measure.statistics import Effect


@dataclass(frozen=True)
class BreakEven:
    """Calls after which the extra preparation is paid back.

    Attributes
    ----------
    calls : float or None
        Estimate; None: by the estimate it never pays.
    low, high : float or None
        95 % interval; `high` is None where the interval is open (it may never pay), both are None
        where it never pays, or where there is no interval.
    """

    calls: float | None
    low: float | None
    high: float | None


def break_even(measured: Effect, *, baseline_s: float, extra_s: float) -> BreakEven:
    """Divide the extra preparation by the time that a call saves.

    A call saves baseline × (1 − 1 / speed-up), so the interval of the speed-up gives that of the
    calls; the baseline's median enters as it is.

    Parameters
    ----------
    measured : Effect
        The candidate's speed-up.
    baseline_s : float
        Median seconds per call of the baseline.
    extra_s : float
        Seconds of preparation and first call beyond the baseline's; zero or less is paid at once
        by a candidate that is faster.

    Raises
    ------
    ValueError
        When `baseline_s` is not positive.
    """
    if not baseline_s > 0:
        raise ValueError(f"baseline_s: {baseline_s} must be positive")

    def calls(log_speed_up: float | None) -> float | None:
        if log_speed_up is None or log_speed_up <= 0:
            return None
        saved_s = -baseline_s * math.expm1(-log_speed_up)
        needed = max(0.0, extra_s) / saved_s if saved_s > 0 else math.inf
        return needed if math.isfinite(needed) else None

    return BreakEven(
        calls=calls(measured.centre), low=calls(measured.high), high=calls(measured.low)
    )
