"""Quantities as people read them: a number, its unit, and no more digits than it deserves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torchmodes.planning.cases import Case
from torchmodes.results.records import Interval

DASH = "–"
NOTHING = "—"
TIMES = "×"
TOO_NOISY = "too noisy to say"
NO_INTERVAL = "no interval"
_SPACE = "\N{NARROW NO-BREAK SPACE}"
_TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_OPERATION_UNITS = ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"), (1.0, "FLOP"))
_ENERGY_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
_ABSURD = 1e5
_MOST_DECIMALS = 3
_COUNT_UNITS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def duration(seconds: float | None) -> str:
    """Write a time, such as ``6.94 ms``; from two minutes on in minutes, then in hours."""
    if seconds is None:
        return NOTHING
    if seconds == 0:
        return f"0{_SPACE}s"
    if seconds >= 7200:
        return f"{digits(seconds / 3600)}{_SPACE}h"
    if seconds >= 120:
        return f"{digits(seconds / 60)}{_SPACE}min"
    return _with_unit(seconds, _TIME_UNITS)


def signed_duration(seconds: float | None) -> str:
    """Write a difference of times, such as ``−1.2 ms``."""
    return NOTHING if seconds is None else _signed(duration(abs(seconds)), seconds)


def time_tick(seconds: float) -> str:
    """Write a time beside an axis: ``50 ms``."""
    factor, unit = _unit(seconds, _TIME_UNITS)
    return f"{round(seconds / factor, 6):g} {unit}"


def size(count: int | float | None) -> str:
    """Write a number of bytes in decimal units, such as ``735 MB``."""
    return NOTHING if count is None else _signed(_with_unit(abs(count), _SIZE_UNITS), count)


def size_unit(count: float) -> tuple[float, str]:
    """Return the unit that suits a number of bytes, as its bytes and its symbol."""
    return _unit(count, _SIZE_UNITS)


def operations(count: float) -> str:
    """Write a number of floating-point operations, such as ``10.9 GFLOP``."""
    return _with_unit(count, _OPERATION_UNITS)


def energy(joules: float) -> str:
    """Write an energy, such as ``4.2 mJ``."""
    return _with_unit(joules, _ENERGY_UNITS)


def ratio(value: float | None) -> str:
    """Write a ratio that has no interval, such as ``1.15×``."""
    return NOTHING if value is None else f"{ratio_digits(value)}{TIMES}"


def estimate(interval: Interval) -> str:
    """Write the estimate of a speed-up, such as ``1.15×``, where its interval says something."""
    if interval.says_nothing:
        return NOTHING
    return f"{_as_fine_as(interval, interval.estimate)}{TIMES}"


def ratio_digits(value: float) -> str:
    """Write a ratio without its sign; one beyond all measuring in powers of ten."""
    return f"{value:.0e}" if value >= _ABSURD else digits(value)


def ratio_range(interval: Interval) -> str:
    """Write the bounds of a speed-up, such as ``1.10 to 1.21``, or that they say nothing."""
    if interval.says_nothing:
        return TOO_NOISY
    if interval.low is None or interval.high is None:  # one block has none
        return NO_INTERVAL
    low, high = (_as_fine_as(interval, bound) for bound in (interval.low, interval.high))
    return f"{low} to {high}"


def speed_up(interval: Interval) -> str:
    """Write a speed-up with its bounds, such as ``3.2× (3.1 to 3.3)``."""
    if interval.says_nothing:
        return TOO_NOISY
    return f"{estimate(interval)} ({ratio_range(interval)})"


def _as_fine_as(interval: Interval, value: float) -> str:
    """Write a ratio to the first digit that its interval leaves uncertain; the CSV has them all."""
    low, high = interval.low, interval.high
    if low is None or high is None or not low < high < _ABSURD:
        return ratio_digits(value)
    half_width = (high - low) / 2
    decimals = min(max(-math.floor(math.log10(half_width)), 0), _MOST_DECIMALS)
    return f"{value:,.{decimals}f}"


def effect(ratio: float) -> str:
    """Write how far a speed-up is from none, such as ``+6.3 %`` or ``−0.4 %``."""
    sign = "−" if ratio < 1 else "+"
    return f"{sign}{percent(abs(ratio - 1))}"


def percent(value: float | None) -> str:
    """Write a share, such as ``1.2 %``."""
    return NOTHING if value is None else f"{digits(100 * value, significant=2)}{_SPACE}%"


def points(share: float) -> str:
    """Write a difference of two shares in percentage points, such as ``−0.40``."""
    size = abs(100 * share)
    return _signed(f"{size:.2f}" if size < 1 else f"{size:.1f}", share)


def signed_figure(value: float) -> str:
    """Write a difference of plain numbers, such as ``−0.0018``."""
    return _signed(digits(abs(value), significant=2), value)


def _signed(written: str, value: float) -> str:
    return f"−{written}" if value < 0 else written


def tenths(share: float) -> str:
    """Write a share whose small differences matter, such as ``91.4 %``."""
    return f"{100 * share:.1f}{_SPACE}%"


def group_name(case: Case) -> str:
    """Name what modes are compared on: ``house_price · training · batch 2,048``."""
    return f"{case.model} · {case.task} · batch {case.batch_size:,}"


def call(task: str) -> str:
    """Return what one call of a task is."""
    return {"training": "step", "inference": "call", "generation": "token"}[task]


def calls(count: float) -> str:
    """Write a number of calls to three digits, such as ``12,500`` or ``1.25 million``."""
    if math.ceil(count) <= 1:
        return "1"
    if count >= 1e6:
        return _with_unit(count, _COUNT_UNITS)
    return f"{_significant(math.ceil(count), 3):,.0f}"


def call_range(interval: Interval) -> str:
    """Write the bounds of a number of calls, such as ``11,900–13,100``."""
    low = "1" if interval.low is None else calls(interval.low)
    return f"{low}{DASH}{'never' if interval.high is None else calls(interval.high)}"


def rate(per_second: float | None) -> str:
    """Write items per second to three digits, such as ``357,000``."""
    if per_second is None:
        return NOTHING
    return digits(per_second) if per_second < 1000 else f"{_significant(per_second, 3):,.0f}"


def deviation(value: float | None) -> str:
    """Write a numerical error, such as ``3.1e-07`` or ``0``."""
    if value is None:
        return NOTHING
    return "0" if value == 0 else f"{value:.2g}"


def relative_error(value: float | None) -> str:
    """Write an output's relative error: ``3.1e-07``, or ``3.4 %`` from a thousandth on."""
    return deviation(value) if value is None or value < 1e-3 else percent(value)


def figure(value: float | None) -> str:
    """Write a plain number to four digits, or whole, with thousands separated."""
    if value is None:
        return NOTHING
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def plural(count: int, noun: str, plural_noun: str | None = None) -> str:
    """Write a number of things, such as ``1 case`` or ``12 cases``."""
    return f"{count:,} {noun if count == 1 else plural_noun or noun + 's'}"


def listing(words: list[str]) -> str:
    """Join words as in a sentence: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def digits(value: float, *, significant: int = 3) -> str:
    """Write a number to some significant digits, never in scientific notation above 1e-4."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = _significant(value, significant)
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{significant}g}" if decimals > 6 else f"{rounded:,.{decimals}f}"


_UNITS = {"_s": duration, "_bytes": size}


def facts(told: Mapping[str, Any]) -> str:
    """Write an engine's facts in one line: ``graphs 1; graph breaks none; recompiles 0``."""
    return "; ".join(f"{spoken(key)} {_value(value)}" for key, value in told.items()) or NOTHING


def column(name: str) -> str:
    """Write the name of a column without its unit: ``self cpu``."""
    return spoken(next((name.removesuffix(u) for u in _UNITS if name.endswith(u)), name))


def cell(name: str, value: Any) -> str:
    """Write a value with the unit that its column's name ends in."""
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return NOTHING
    if name == "flops":
        return operations(value)
    return next(
        (write(value) for unit, write in _UNITS.items() if name.endswith(unit)), figure(value)
    )


def _significant(value: float, count: int) -> float:
    return 0.0 if value == 0 else round(value, count - 1 - math.floor(math.log10(abs(value))))


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    return next((unit for unit in units if abs(value) >= unit[0]), units[-1])


def _with_unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    factor, unit = _unit(value, units)
    return f"{digits(value / factor)}{_SPACE}{unit}"


def spoken(name: str) -> str:
    """Write the name of a field as words."""
    return name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} ({item})" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    return NOTHING if value is None else str(value)
