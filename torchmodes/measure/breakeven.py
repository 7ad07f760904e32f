"""The number of calls after which a mode has paid back its preparation."""

from __future__ import annotations

import math

from torchmodes.measure.statistics import Estimate
from torchmodes.results.records import Interval


def break_even(measured: Estimate, *, baseline_s: float, extra_s: float) -> Interval | None:
    """Divide the extra preparation by the time that a call saves: an interval of calls.

    A call saves baseline × (1 − 1 / speed-up), so the interval of the speed-up gives that of the
    calls; the baseline's median (seconds a call) enters as it is. `extra_s` are the seconds of
    preparation and first call beyond the baseline's; zero or less is paid at once by a candidate
    that is faster. `high` is None where it may never pay; None: by the estimate it never pays.
    """

    def calls(log_speed_up: float | None) -> float | None:
        if log_speed_up is None or log_speed_up <= 0:
            return None
        saved_s = -baseline_s * math.expm1(-log_speed_up)
        needed = max(0.0, extra_s) / saved_s if saved_s > 0 else math.inf
        return needed if math.isfinite(needed) else None

    estimate = calls(measured.centre)
    if estimate is None:
        return None
    return Interval(estimate=estimate, low=calls(measured.high), high=calls(measured.low))
