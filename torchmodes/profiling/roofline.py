"""The roofline: what a case reaches of what the machine allows it.

S. Williams, A. Waterman, D. Patterson: Roofline: an insightful visual performance model for
multicore architectures, CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torchmodes.profiling.reading import RooflinePoint


@dataclass(frozen=True)
class Roof:
    """The two peaks of a device in one precision."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """Operations per byte from which on the arithmetic limits, not the memory."""
        return self.flops_per_s / self.bytes_per_s

    def attainable(self, intensity: float) -> float:
        """Return the operations per second that an arithmetic intensity allows."""
        return min(self.flops_per_s, intensity * self.bytes_per_s)


def roof_of(machine: Mapping[str, Any], precision: str) -> Roof | None:
    """Read the roof of a precision from ``results/machine/{device}.json``; None where it has none.

    The entry with the most threads counts, which are those that cases run with. Where a lower
    precision is slower than fp32, fp32 is its peak: numbers can always be widened, and some
    operators are.
    """
    if machine.get("status") != "ok" or not machine.get("ceilings"):
        return None
    measured = max(machine["ceilings"], key=lambda entry: entry["threads"])
    rates = measured["flops_per_s"]
    flops_per_s = max(rates.get(precision) or 0.0, rates.get("fp32") or 0.0)
    bytes_per_s = max(measured["copy_bytes_per_s"], measured["triad_bytes_per_s"])
    if not rates.get(precision) or not bytes_per_s:
        return None
    return Roof(flops_per_s, bytes_per_s)


NO_PEAK = "the machine has no measured peak for this precision"


def place(
    case: str,
    summary: Mapping[str, Any],
    roof: Roof | None,
    *,
    median_s: float | None,
    no_roof: str | None = None,
) -> RooflinePoint:
    """Place a profiled case under the roof of its device and precision.

    The median is that of its record, where there is one. `no_roof` says why there is no roof, where
    the machine's file does.
    """
    seconds = median_s if median_s is not None else summary.get("unprofiled_step_s")
    flops, moved = summary.get("flops"), summary.get("compulsory_bytes")
    reason = None
    if summary.get("status") != "ok":
        reason = f"{summary.get('status')}: {summary.get('reason')}"
    elif summary.get("work_fault"):
        reason = f"the model could not be counted: {summary['work_fault']}"
    elif summary.get("flops_fault"):
        reason = f"not all of its operations were counted: {summary['flops_fault']}"
    elif not flops:
        reason = "PyTorch counts no floating-point operations of its operators"
    elif not moved:
        reason = "the bytes of this precision are not known"
    elif not seconds:
        reason = "its time is not known"
    elif roof is None:
        reason = no_roof or NO_PEAK
    intensity = flops / moved if flops and moved else None
    reached = flops / seconds if flops and seconds else None
    allowed = bound = None
    if reason is None and roof is not None and intensity is not None:
        allowed = roof.attainable(intensity)
        bound = "compute" if intensity >= roof.ridge else "memory"
    return RooflinePoint(
        case=case,
        seconds=seconds,
        source=None if seconds is None else "profile" if median_s is None else "record",
        flops=flops,
        compulsory_bytes=moved,
        operator_bytes=summary.get("operator_bytes"),
        intensity=intensity,
        flops_per_s=reached,
        attainable_flops_per_s=allowed,
        share=reached / allowed if reached and allowed else None,
        bound=bound,
        reason=reason,
    )


def roofline(
    profiles: Iterable[Mapping[str, Any]],
    machines: Mapping[str, Mapping[str, Any]],
    medians: Mapping[str, float],
) -> dict[str, Any]:
    """Place profiled cases, by their ``summary.json``, under the roofs of their devices.

    The machines are ``results/machine/{device}.json`` by device, the medians those of records by
    the path of the case, seconds. It returns what `RooflineFile` reads: ``machines`` as given, less
    their environments, and ``points``.
    """
    points = []
    for summary in profiles:
        identity = summary["case"]
        case = "{task}/{device}/{model}/{mode}/{precision}-b{batch_size}".format(**identity)
        machine = machines.get(identity["device"], {})
        roof, no_roof = roof_of(machine, identity["precision"]), machine.get("reason")
        point = place(case, summary, roof, median_s=medians.get(case), no_roof=no_roof)
        points.append(point.model_dump())
    shown = {
        device: {key: value for key, value in machine.items() if key != "environment"}
        for device, machine in machines.items()
    }
    return {"machines": shown, "points": points}
