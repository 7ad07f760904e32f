"""Advice by hardware: what each mode did on each device, over everything that was measured there.

A table of backends by hardware, as guides print it, with this run's findings in place of hearsay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from torchmodes.profiling.roofline import Roof, roof_of
from torchmodes.report.data import ReportData
from torchmodes.report.environments import Machine
from torchmodes.report.formatting import (
    DASH,
    NOTHING,
    duration,
    estimate,
    listing,
    percent,
    plural,
    rate,
)
from torchmodes.report.sentences import verdict
from torchmodes.report.verdicts import JudgedRecord

_FEWEST_GROUPS = 2
_SPEED_UP = attrgetter("speed_up.estimate")
NEAR_THE_PEAK = 0.4
"""Share of the peak below which the page says where the rest of the time goes."""


@dataclass(frozen=True)
class ModeFinding:
    """What one mode did on one device, in one task.

    Attributes
    ----------
    competitors
        Its cases that have a verdict, over models and batch sizes.
    others
        Its cases that have none: failed, wrong, unsupported, without effect.
    """

    name: str
    mode: str
    competitors: tuple[JudgedRecord, ...]
    others: tuple[JudgedRecord, ...]

    @property
    def advice(self) -> str:
        """What follows, in a few words chosen by the verdicts."""
        found = {judged.verdict for judged in self.competitors}
        if not found:
            return "not here"
        if found == {"faster"}:
            return "use it where it runs" if self.others else "use it"
        if "faster" in found:
            return "measure your model: it helps some"
        if found == {"slower"}:
            return "avoid it"
        return "no gain" if found <= {"slower", "same"} else "no gain shown"

    @property
    def faster(self) -> tuple[JudgedRecord, ...]:
        """The cases in which it is faster."""
        return tuple(judged for judged in self.competitors if judged.verdict == "faster")

    @property
    def helps(self) -> str:
        """The models and batch sizes where it is faster."""
        if not self.faster:
            return NOTHING
        if len(self.faster) == len(self.competitors) > 1 and not self.others:
            return "all it was measured on"
        batches: dict[str, list[str]] = {}
        for judged in self.faster:
            batches.setdefault(judged.case.model, []).append(f"{judged.case.batch_size:,}")
        return "; ".join(f"{model} (batch {', '.join(b)})" for model, b in batches.items())

    @property
    def counts(self) -> str:
        """How its cases came out: ``3 faster, 1 same, 1 failed``."""
        order = ("faster", "same", "unresolved", "slower")
        words = [verdict(judged) for judged in (*self.competitors, *self.others)]
        known = [word for word in order if word in words]
        rest = sorted(set(words) - set(order))
        return ", ".join(f"{words.count(word):,} {word}" for word in (*known, *rest))

    @property
    def reach(self) -> str:
        """The smallest and the largest estimated speed-up."""
        telling = [c for c in self.competitors if not c.speed_up.says_nothing]
        if not telling:
            return NOTHING
        ends = (end(telling, key=_SPEED_UP) for end in (min, max))
        return DASH.join(dict.fromkeys(estimate(c.speed_up) for c in ends))

    @property
    def rank(self) -> tuple[int, float, str]:
        """Order: those that help most often first, then by how much."""
        most = max(map(_SPEED_UP, self.competitors), default=0.0)
        return -len(self.faster), -most, self.name


@dataclass(frozen=True)
class Hardware:
    """One device of one machine doing one task, and what every mode did there."""

    machine: Machine
    device: str
    task: str
    groups: int
    findings: tuple[ModeFinding, ...]

    @property
    def title(self) -> str:
        """The hardware that computed, and the task: ``AMD EPYC, 2 cores · inference``."""
        known = self.machine.gpu if self.device == "cuda" else self.machine.processor
        return " · ".join(filter(None, (known, self.device, self.task)))

    @property
    def said(self) -> str:
        """What was found, in a sentence or two."""
        over = f"Over {plural(self.groups, 'model and batch size', 'models and batch sizes')}"
        told = []
        for start, what in (
            ("use it", "faster wherever it ran"),
            ("measure", "faster on some"),
            ("avoid it", "slower wherever it ran"),
        ):
            if names := [f.name for f in self.findings if f.advice.startswith(start)]:
                told.append(f"{what}: {listing(names)}")
        return f"{over}, {'; '.join(told) or 'no mode is shown to be faster'}."


def peak_share(judged: JudgedRecord, data: ReportData) -> float | None:
    """Return the share of the device's measured peak that an inference case reaches.

    None where its operations are not counted (of training, those of a forward pass alone are), the
    peak is not measured, or it may be another machine's.
    """
    flops, roof = judged.record.flops, roof_of_case(judged, data)
    if not judged.measured or judged.case.task != "inference" or not flops or roof is None:
        return None
    return flops / judged.statistics.candidate.median_s / roof.flops_per_s


def limit(judged: JudgedRecord, data: ReportData) -> str | None:
    """Say what a case reaches of the device's measured peak at its precision, and what is left.

    None where `peak_share` is.
    """
    share, roof = peak_share(judged, data), roof_of_case(judged, data)
    if share is None or roof is None:
        return None
    said = (
        f"{judged.case.precision} runs at {percent(share)} of this machine's"
        f" {judged.case.precision} peak ({rate(roof.flops_per_s / 1e9)} GFLOP/s of matrix products)"
    )
    return said if share >= NEAR_THE_PEAK else f"{said}. {_where_the_rest_goes(judged, data, roof)}"


def _where_the_rest_goes(judged: JudgedRecord, data: ReportData, roof: Roof) -> str:
    """Say how long a call's products, and its memory, take at the peaks, and what that leaves.

    Products that an engine left in fp32 are known where it counts what it executed, the bytes
    where the case was profiled; what is not known is not told.
    """
    flops, total_s = judged.record.flops, judged.statistics.candidate.median_s
    assert flops
    share = judged.record.facts.get("share_of_multiply_adds", 1.0)
    floor_s = products_s = share * flops / roof.flops_per_s
    fp32 = roof_of_case(judged, data, precision="fp32")
    parts = [f"products would take {duration(products_s)} at that peak"]
    if share < 1 and fp32 is not None:
        left_s = (1 - share) * flops / fp32.flops_per_s
        floor_s += left_s
        parts.append(f"those left in fp32 {duration(left_s)} at fp32's")
    points = {point["case"]: point for point in data.roofline.get("points", [])}
    if moved := points.get(str(judged.case), {}).get("compulsory_bytes"):
        moving_s = moved / roof.bytes_per_s
        bound = ", so that memory is the limit" if moving_s > floor_s else ""
        floor_s = max(floor_s, moving_s)
        parts.append(f"memory {duration(moving_s)} to move each byte once{bound}")
    return (
        f"Of a call's {duration(total_s)} its {listing(parts)}; the other"
        f" {percent(max(0.0, 1 - floor_s / total_s))} are operators that multiply nothing, products"
        " below the peak, and what every call costs"
    )


def roof_of_case(
    judged: JudgedRecord, data: ReportData, *, precision: str | None = None
) -> Roof | None:
    """Return what a case's device reached; None where that may be another machine's."""
    machine = data.roofline.get("machines", {}).get(judged.case.device, {})
    one_machine = len(data.machines) == 1
    return roof_of(machine, precision or judged.case.precision) if one_machine else None


def advice_by_hardware(data: ReportData) -> list[Hardware]:
    """Return what each mode did on each hardware, where that is over two groups or more.

    Where none of its cases has a verdict there is nothing to advise.
    """

    def where(judged: JudgedRecord) -> tuple[Machine, str, str]:
        return judged.machine, judged.case.device, judged.case.task

    found = []
    for (machine, device, task), members in groupby(sorted(data.cases, key=where), key=where):
        cases = list(members)
        groups = len({(judged.case.model, judged.case.batch_size) for judged in cases})
        findings = sorted(_findings(cases), key=lambda finding: finding.rank)
        if groups >= _FEWEST_GROUPS and any(finding.competitors for finding in findings):
            found.append(Hardware(machine, device, task, groups, tuple(findings)))
    return found


def _findings(cases: Iterable[JudgedRecord]) -> Iterable[ModeFinding]:
    def mode(judged: JudgedRecord) -> tuple[str, str]:
        return judged.case.mode, judged.name

    candidates = [judged for judged in cases if not judged.case.is_baseline]
    for (name, shown), members in groupby(sorted(candidates, key=mode), key=mode):
        own = list(members)
        competing = tuple(judged for judged in own if judged.competes)
        yield ModeFinding(shown, name, competing, tuple(j for j in own if not j.competes))
