"""Energy of a stretch of work: NVML's counter on an NVIDIA GPU, RAPL's on Linux, else a reason.

Both count everything the package or the board spends, idle power included: run nothing else.
Sampling interleaves two sides, so a candidate's energy is measured in a block of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from torchmodes.measure.gpu import NvmlUnavailable, nvml_device
from torchmodes.results.records import Energy

POWERCAP = Path("/sys/class/powercap")


class EnergyUnavailable(Exception):
    """This machine does not tell its energy; the message says why and what to do."""


class Counter(Protocol):
    """An energy counter that is open."""

    source: str

    def joules_since_start(self) -> float:
        """Return the joules since the counter was opened."""
        ...


class EnergyMeter:
    """Measures the energy of what a device does between `start` and `stop`; see `make_meter`.

    Parameters
    ----------
    open_counter : callable
        Opens a counter; what must be closed again it enters into the stack it is given.
    synchronize : callable
        Waits until the device has done all that was asked of it.
    """

    def __init__(
        self,
        open_counter: Callable[[ExitStack], Counter],
        *,
        synchronize: Callable[[], None] = lambda: None,
    ) -> None:
        self.synchronize = synchronize
        self._open_counter = open_counter
        self._stack = ExitStack()
        self._counter: Counter | None = None
        self._reason = "the meter was not started"
        self._began = 0.0

    @property
    def counting(self) -> bool:
        """Whether something counts since `start`."""
        return self._counter is not None

    def start(self) -> None:
        """Begin to count. Never raises: a missing counter is told by `stop`."""
        self._stack.close()
        self._counter = None
        self.synchronize()
        try:
            self._counter = self._open_counter(self._stack)
        except (EnergyUnavailable, NvmlUnavailable) as unavailable:
            self._stack.close()
            self._reason = str(unavailable)
        self._began = time.monotonic()

    def stop(self) -> Energy:
        """Return what was spent since `start`."""
        if self._counter is None:
            return _no_figure(self._reason)
        self.synchronize()
        seconds = time.monotonic() - self._began
        try:
            joules = self._counter.joules_since_start()
        except EnergyUnavailable as unavailable:
            return _no_figure(str(unavailable))
        else:
            return Energy(
                joules=joules,
                seconds=seconds,
                source=self._counter.source,
                reason=None,
                calls=None,
                items=None,
                joules_per_item=None,
            )
        finally:
            self._stack.close()
            self._counter = None


def _no_figure(reason: str) -> Energy:
    return Energy(
        joules=None,
        seconds=None,
        source=None,
        reason=reason,
        calls=None,
        items=None,
        joules_per_item=None,
    )


def make_meter(device: Literal["cpu", "cuda", "mps"], *, index: int = 0) -> EnergyMeter:
    """Return the meter of a device; on one that does not tell its energy, it gives the reason.

    Parameters
    ----------
    device : {"cpu", "cuda", "mps"}
    index : int
        PyTorch's index of a CUDA device.
    """
    if device == "cuda" and torch.cuda.is_available():
        return EnergyMeter(
            lambda stack: NvmlCounter(*stack.enter_context(nvml_device(index))),
            synchronize=torch.cuda.synchronize,
        )
    if device == "cpu":
        return EnergyMeter(lambda _: RaplCounter())
    if device == "mps":
        return _without("macOS tells energy only to root (powermetrics)")
    return _without("PyTorch finds no CUDA device")


def _without(reason: str) -> EnergyMeter:
    def refuse(_: ExitStack) -> Counter:
        raise EnergyUnavailable(reason)

    return EnergyMeter(refuse)


class NvmlCounter:
    """The GPU board's total energy since the driver was loaded, by NVML (Volta and later)."""

    source = "NVML total energy of the GPU"

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._began_mj = self._read_mj()

    def joules_since_start(self) -> float:
        """Return the joules since the counter was opened."""
        return (self._read_mj() - self._began_mj) / 1000

    def _read_mj(self) -> int:
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            raise EnergyUnavailable(f"this GPU counts no energy: {error}") from None


class RaplCounter:
    """Packages and memory of the processor, by Linux' powercap (Intel RAPL, AMD alike).

    A zone's counter wraps around at `max_energy_range_uj`, after some minutes at full load at the
    soonest; one wrap between two readings is put right.
    """

    source = "RAPL, processor packages and memory"

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._zones = tuple(_rapl_zones(powercap))
        if not self._zones:
            raise EnergyUnavailable(f"no RAPL energy counter under {powercap}")
        self._began_uj = tuple(_read_uj(zone / "energy_uj") for zone in self._zones)

    def joules_since_start(self) -> float:
        """Return the joules since the counter was opened."""
        spent_uj = 0
        for zone, began_uj in zip(self._zones, self._began_uj, strict=True):
            difference = _read_uj(zone / "energy_uj") - began_uj
            if difference < 0:
                difference += _read_uj(zone / "max_energy_range_uj")
            spent_uj += difference
        return spent_uj * 1e-6


def _rapl_zones(powercap: Path) -> Iterator[Path]:
    """Yield packages and their memory: zones that do not contain each other."""
    for zone in sorted(powercap.glob("intel-rapl:*")):
        name = zone / "name"
        if name.is_file() and name.read_text(encoding="ascii").startswith(("package", "dram")):
            yield zone


def _read_uj(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError:
        raise EnergyUnavailable(
            f"{path} may be read by root only (a side channel, CVE-2020-8694); "
            "to allow it until the next boot: sudo chmod a+r "
            f"{path.parent.parent}/intel-rapl:*/energy_uj"
        ) from None
    except (OSError, ValueError) as error:
        raise EnergyUnavailable(f"{path} cannot be read: {error}") from None


def measure_energy(
    call: Callable[[], object],
    *,
    seconds: float,
    items_per_call: int,
    meter: EnergyMeter,
) -> Energy:
    """Repeat one call for a while and return its energy per item.

    Parameters
    ----------
    call : callable
        One call of the candidate, warm. It is synchronised each time, so that an accelerator's
        work is neither queued up nor left over.
    seconds : float
        How long at least. Counters move every 1 ms (RAPL) to 100 ms (NVML): a second or more keeps
        that below a tenth.
    items_per_call : int
        What one call works through.
    meter : EnergyMeter

    Returns
    -------
    Energy
        Where nothing counts, at once and without a call.
    """
    meter.start()
    calls, began = 0, time.monotonic()
    while meter.counting and (calls == 0 or time.monotonic() - began < seconds):
        call()
        meter.synchronize()
        calls += 1
    energy = meter.stop()
    if energy.joules is None:
        return energy
    items = calls * items_per_call
    return energy.model_copy(
        update={"calls": calls, "items": items, "joules_per_item": energy.joules / items}
    )
