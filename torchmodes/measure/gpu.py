"""The state of an NVIDIA GPU: clocks, temperature, power, and what holds its clocks down.

Read by NVML before and after a measurement. Where there is no GPU or no driver, the answer says so;
a figure that this GPU does not report is None. Nothing here raises for that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from torchmodes.machine.devices import NvmlUnavailable, opened_nvml
from torchmodes.results.records import GpuState

T = TypeVar("T")

THROTTLE_REASONS = {
    0x001: "idle",
    0x002: "application clocks setting",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal slowdown (software)",
    0x040: "thermal slowdown (hardware)",
    0x080: "power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability",
}
"""NVML's bits of clock event reasons (nvml.h), in words."""
HARMLESS = frozenset({"idle", "application clocks setting"})
"""Reasons that say nothing against a measurement; clocks fixed on purpose even help it."""
SLOWDOWN_COUNTERS = {
    "power cap": "NVML_FI_DEV_PERF_POLICY_POWER",
    "thermal slowdown": "NVML_FI_DEV_PERF_POLICY_THERMAL",
    "board limit": "NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT",
    "reliability": "NVML_FI_DEV_PERF_POLICY_RELIABILITY",
}
"""NVML's field of the nanoseconds for which each has held the clocks down, since the driver was
loaded. The reasons above are those of one moment, and after a measurement the GPU is idle."""
POWER_CAP = "power cap"
HELD_SHARE = 0.01
"""Clocks that are held down for less of the time change no median."""
REST_S = 0.2
"""How long the GPU rests, to see whether its counters do; they move some ten times a second."""


def gpu_state(index: int = 0) -> GpuState:
    """Return the state of a GPU now, by PyTorch's index."""
    try:
        with nvml_device(index) as (nvml, handle):
            return _read(nvml, handle)
    except NvmlUnavailable as unavailable:
        return GpuState(reason=str(unavailable))


@contextmanager
def nvml_device(index: int) -> Generator[tuple[Any, Any]]:
    """Open NVML and yield the module and the handle of PyTorch's device `index`.

    Raises
    ------
    NvmlUnavailable
        When the Python binding, the driver, or the device is missing.
    """
    with opened_nvml() as nvml:
        try:
            handle = _handle(nvml, index)
        except nvml.NVMLError as error:
            raise NvmlUnavailable(f"NVML does not find GPU {index}: {error}") from None
        yield nvml, handle


def _handle(nvml: Any, index: int) -> Any:
    """Find by UUID the GPU that PyTorch calls `index`; without CUDA in PyTorch, by NVML's order."""
    import torch

    if not torch.cuda.is_available():
        return nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = str(torch.cuda.get_device_properties(index).uuid)
    return nvml.nvmlDeviceGetHandleByUUID(uuid if "-" in uuid[:4] else f"GPU-{uuid}")


def _read(nvml: Any, handle: Any) -> GpuState:
    def ask(question: Callable[[], T]) -> T | None:
        """Return the answer, or None from a GPU or driver that does not give this one."""
        try:
            return question()
        except nvml.NVMLError:
            return None

    def milliwatts(question: Callable[[Any], int]) -> float | None:
        answer = ask(lambda: question(handle))
        return None if answer is None else answer / 1000

    mask = ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if mask is None:  # drivers before 535 know it by its old name
        mask = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    reasons = None if mask is None else throttle_reasons(mask)
    return GpuState(
        reason=None,
        name=ask(lambda: nvml.nvmlDeviceGetName(handle)),
        uuid=ask(lambda: nvml.nvmlDeviceGetUUID(handle)),
        driver=ask(nvml.nvmlSystemGetDriverVersion),
        sm_clock_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        sm_clock_max_mhz=ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        memory_clock_mhz=ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        temperature_c=ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        power_w=milliwatts(nvml.nvmlDeviceGetPowerUsage),
        power_limit_w=milliwatts(nvml.nvmlDeviceGetEnforcedPowerLimit),
        utilisation_percent=ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        throttle_reasons=reasons,
        throttled=None if reasons is None else bool(set(reasons) - HARMLESS),
        held_down_s=ask(lambda: _held_down_s(nvml, handle)),
    )


def _held_down_s(nvml: Any, handle: Any) -> dict[str, float]:
    fields = [getattr(nvml, field) for field in SLOWDOWN_COUNTERS.values()]
    values = nvml.nvmlDeviceGetFieldValues(handle, fields)
    return {
        name: value.value.ullVal * 1e-9
        for name, value in zip(SLOWDOWN_COUNTERS, values, strict=True)
        if value.nvmlReturn == nvml.NVML_SUCCESS
    }


def held_down_between(before: GpuState, after: GpuState) -> dict[str, float]:
    """Return what held the clocks down between two states, and for how many seconds."""
    earlier, later = before.held_down_s or {}, after.held_down_s or {}
    return {
        name: later[name] - seconds
        for name, seconds in earlier.items()
        if name in later and later[name] > seconds
    }


def throttling(rest: GpuState, before: GpuState, after: GpuState, *, seconds: float) -> list[str]:
    """Say in words what held the clocks down during a measurement of so many seconds.

    A reason of one moment is told only where this GPU has no counter for it; what held them down
    for less than `HELD_SHARE` of the time is none. The state at `rest` is from `REST_S` before the
    measurement. An idle GPU does not reach its power limit: a counter of the power cap that rises
    at rest, or that reason given at rest, is about something else and left out.
    """
    held = {
        name: held_s
        for name, held_s in held_down_between(before, after).items()
        if held_s > HELD_SHARE * seconds
    }
    counters = after.held_down_s or {}
    reasons = {
        reason
        for reason in after.throttle_reasons or ()
        if reason not in HARMLESS and not any(reason.startswith(name) for name in counters)
    }
    if POWER_CAP in held_down_between(rest, before):
        held.pop(POWER_CAP, None)
    if POWER_CAP in (before.throttle_reasons or ()):
        reasons.discard(POWER_CAP)
    return [*(f"{name} for {held_s:.1f} s" for name, held_s in held.items()), *sorted(reasons)]


def throttle_reasons(mask: int) -> tuple[str, ...]:
    """Decode NVML's bit mask of clock event reasons; a bit that is not known is given as a number.

    Examples
    --------
    >>> throttle_reasons(0x24)
    ('power cap', 'thermal slowdown (software)')
    """
    known = tuple(words for bit, words in THROTTLE_REASONS.items() if mask & bit)
    rest = mask & ~sum(THROTTLE_REASONS)
    return (*known, f"unknown ({rest:#x})") if rest else known
