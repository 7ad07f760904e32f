"""Energy of a piece of work: from NVML on an NVIDIA GPU, from RAPL on Linux, else why not.

Both count everything the package or the board spends, idle power included: run nothing else.
Sampling interleaves two sides, so a candidate's energy is measured in a block of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from torchmodes.machine.devices import NvmlUnavailable
from torchmodes.measure.gpu import nvml_device
from torchmodes.results.records import Energy
from torchmodes.workloads.workload import synchronize

POWERCAP = Path("/sys/class/powercap")


class EnergyUnavailable(Exception):
    """This machine does not tell its energy; the message says why and what to do."""


@dataclass(frozen=True)
class Counter:
    """An energy counter: what counts, and what tells the joules since it was opened."""

    source: str
    joules: Callable[[], float]


def measure_energy(
    call: Callable[[], object],
    *,
    seconds: float,
    items_per_call: int,
    device: Literal["cpu", "cuda", "mps"],
) -> Energy:
    """Repeat one call, warm, for so many seconds at least, and return its energy per item.

    Each call is waited for, so that an accelerator's work is neither queued up nor left over.
    Counters move every 1 ms (RAPL) to 100 ms (NVML): a second or more keeps that below a tenth.
    Where nothing counts, it returns the reason at once and without a call.
    """
    try:
        with _open_counter(device) as counter:
            calls, began = 0, time.monotonic()
            while calls == 0 or time.monotonic() - began < seconds:
                call()
                synchronize(device)
                calls += 1
            joules, took_s = counter.joules(), time.monotonic() - began
    except (EnergyUnavailable, NvmlUnavailable) as unavailable:
        return Energy(reason=str(unavailable))
    items = calls * items_per_call
    return Energy(
        joules=joules,
        seconds=took_s,
        source=counter.source,
        calls=calls,
        items=items,
        joules_per_item=joules / items,
    )


@contextmanager
def _open_counter(device: Literal["cpu", "cuda", "mps"]) -> Generator[Counter]:
    if device == "cpu":
        yield rapl_counter(POWERCAP)
    elif device == "mps":
        raise EnergyUnavailable("macOS reports energy only to root (powermetrics)")
    elif not torch.cuda.is_available():
        raise EnergyUnavailable("PyTorch finds no CUDA device")
    else:
        synchronize(device)
        with nvml_device(0) as (nvml, handle):
            yield nvml_counter(nvml, handle)


def nvml_counter(nvml: Any, handle: Any) -> Counter:
    """Count the GPU board's total energy by NVML (Volta and later)."""

    def read_mj() -> int:
        try:
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except nvml.NVMLError as error:
            raise EnergyUnavailable(f"this GPU counts no energy: {error}") from None

    began_mj = read_mj()
    return Counter("NVML total energy of the GPU", lambda: (read_mj() - began_mj) / 1000)


def rapl_counter(powercap: Path) -> Counter:
    """Count packages and memory of the processor, by Linux' powercap (Intel RAPL, AMD alike).

    A zone's counter wraps around at `max_energy_range_uj`, after some minutes at full load at the
    soonest; one wrap between two readings is put right.
    """
    began_uj = {zone: _read_uj(zone / "energy_uj") for zone in _rapl_zones(powercap)}
    if not began_uj:
        raise EnergyUnavailable(f"no RAPL energy counter under {powercap}")

    def joules() -> float:
        spent_uj = 0
        for zone, began in began_uj.items():
            difference = _read_uj(zone / "energy_uj") - began
            if difference < 0:
                difference += _read_uj(zone / "max_energy_range_uj")
            spent_uj += difference
        return spent_uj * 1e-6

    return Counter("RAPL, processor packages and memory", joules)


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
