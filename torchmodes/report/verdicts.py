"""Records judged together: verdicts after Holm's correction, machines told apart, slow jobs found.

A record knows its own verdict. What only the whole run can tell is added here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import exp, expm1
from statistics import fmean, median

from torchmodes.measure.between_runs import harness_bias, spread, two_levels, variance_prior
from torchmodes.measure.combine import centres, moderated
from torchmodes.measure.latency import TWO_SPEEDS_FACTOR, slowed_by
from torchmodes.measure.statistics import holm, survivor
from torchmodes.planning.cases import Case
from torchmodes.report.environments import Machine, machine_of, mapping
from torchmodes.results.records import Interval, Record, Statistics, Verdict

AGAIN = (
    "let nothing else run on this machine; then delete its folder in results/runs and run snakemake"
    " again"
)


@dataclass(frozen=True, order=True)
class Deployment:
    """What a reader decides about: one model doing one task on one device of one machine."""

    machine: Machine
    task: str
    device: str
    model: str


@dataclass(frozen=True)
class JudgedRecord:
    """One record among the others of its run.

    Attributes
    ----------
    verdict
        The verdict that stands after Holm's correction; None where the case is not ``ok``, or
        where its mode had no effect (whatever it differs by is not that mode's doing) or is worse
        than eager on the user's data: that is nothing to ship, however fast.
    adjusted_p
        Holm's p-value; None for an A/A case and where the case is not ``ok``.
    slowed_by
        How many times as long the baseline took as in the other cases of the group, where that is
        enough to say that the machine was slowed; else None.
    """

    record: Record
    machine: Machine
    verdict: Verdict | None
    adjusted_p: float | None
    slowed_by: float | None

    @cached_property
    def case(self) -> Case:
        """The case."""
        return self.record.identity

    @cached_property
    def deployment(self) -> Deployment:
        """What the case is about."""
        return Deployment(self.machine, self.case.task, self.case.device, self.case.model)

    @property
    def name(self) -> str:
        """Mode and precision: ``inductor``, ``inductor bf16``."""
        return self.case.mode_named

    @property
    def no_verdict(self) -> str | None:
        """Why nothing is concluded from its samples, where that is not for the interval to say."""
        record = self.record
        concluded = record.no_verdict is None and record.no_effect is None
        if self.measured and concluded and _far(self.slowed_by):
            return (
                f"eager took {self.slowed_by:,.0f} times as long beside it as in the rest of its"
                " group"
            )
        return record.no_verdict

    @property
    def no_verdict_remedy(self) -> str:
        """What to do about `no_verdict`."""
        return self.record.remedy or AGAIN

    @property
    def withdrawn(self) -> bool:
        """Whether the case's own verdict did not survive the comparison of many cases."""
        return self.verdict is not None and self.verdict != self.record.verdict

    @property
    def competes(self) -> bool:
        """Whether it ran, came out right, did something, and is not the baseline itself.

        Right is also: not worse than eager on the user's data, where that is known.
        """
        return _is_claim(self.record)

    @property
    def measured(self) -> bool:
        """Whether there are figures of it that may be published."""
        return _is_measured(self.record)

    @property
    def statistics(self) -> Statistics:
        """The statistics of a measured case."""
        assert self.record.statistics is not None
        return self.record.statistics

    @property
    def speed_up(self) -> Interval:
        """How many times as fast as eager a measured case is."""
        return self.statistics.speed_up

    @property
    def time_share(self) -> float:
        """A call's time as a share of eager's beside it; eager's own is 1, whatever noise says."""
        return 1.0 if self.case.is_baseline else 1 / self.speed_up.estimate

    @property
    def cold_s(self) -> float | None:
        """Seconds from the built model to the end of the first call."""
        cost = self.record.cost
        if cost is None or cost.prepare_s is None or cost.first_call_s is None:
            return None
        return cost.prepare_s + cost.first_call_s

    @property
    def warm_s(self) -> float | None:
        """The same of a later run, which starts from what the first one compiled; the median."""
        starts = [
            run.prepare_s + run.first_call_s
            for run in self.record.runs[1:]
            if run.prepare_s is not None and run.first_call_s is not None
        ]
        return median(starts) if starts else None

    @property
    def varies(self) -> tuple[float, float] | None:
        """The lowest and the highest speed-up of its runs, where they differ by more than noise.

        That is by more than twice what their own blocks leave open, and by what counts as an
        effect.
        """
        runs = centres(self.record)
        between = spread(runs)
        if between is None or self.record.statistics is None:
            return None
        within = median(run.standard_error for run in runs)
        if between < 2 * within or expm1(between) < self.record.statistics.margin:
            return None
        logs = [run.log_speed_up for run in runs]
        return exp(min(logs)), exp(max(logs))

    @property
    def levels(self) -> tuple[tuple[float, int], tuple[float, int]] | None:
        """Two speed-ups and how many runs had each, where its runs have two levels."""
        parted = two_levels(centres(self.record))
        if parted is None:
            return None
        lower, upper = ((exp(fmean(level)), len(level)) for level in parted)
        return lower, upper

    @property
    def random_weights(self) -> bool:
        """Whether what it computes is that of a model nobody trained."""
        model = mapping(self.record.parameters.get("model"))
        drawn = model.get("weights") == "random" or model.get("family") == "mlp"
        return drawn and self.case.task != "training"

    @property
    def memory_bytes(self) -> int | None:
        """Peak memory where it is scarce: allocated on the GPU for CUDA, else resident."""
        cost = self.record.cost
        if cost is None:
            return None
        return cost.cuda_allocated_bytes if self.case.device == "cuda" else cost.peak_host_bytes

    @property
    def warm_memory_bytes(self) -> int | None:
        """Peak resident memory of a later run, which prepares nothing anew; the largest."""
        found = [run.peak_host_bytes for run in self.record.runs[1:]]
        known = [count for count in found if count is not None]
        return max(known) if known and self.case.device != "cuda" else None


def judge(records: Iterable[Record]) -> tuple[JudgedRecord, ...]:
    """Judge records together, in the order of their machines and cases.

    Cases of several runs get the interval that all cases of their device allow
    (`torchmodes.measure.between_runs`), and the margin of the harness's bias. Holm's family is
    every case that is compared with a baseline; an A/A case is none.
    """
    pairs = sorted(
        ((machine_of(record.environment), record) for record in moderated_together(records)),
        key=lambda pair: (pair[0], pair[1].identity),
    )
    slow = _slowed(pairs)
    claims = [number for number, (_, record) in enumerate(pairs) if _is_claim(record)]
    p_values = holm([_p_value(pairs[number][1], slow.get(number)) for number in claims])
    adjusted = dict(zip(claims, p_values, strict=True))
    return tuple(
        JudgedRecord(
            record=record,
            machine=machine,
            verdict=_standing(record, adjusted.get(number), slow.get(number)),
            adjusted_p=adjusted.get(number),
            slowed_by=slow.get(number),
        )
        for number, (machine, record) in enumerate(pairs)
    )


def moderated_together(records: Iterable[Record]) -> list[Record]:
    """Let the cases of a device of a machine tell each other how far one run is from the next.

    Returns the same records in the same order, with the intervals and verdicts that follow.
    """
    records = list(records)
    devices: dict[tuple[Machine, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.no_effect is None:
            devices[_device(record)].append(record)
    priors = {device: variance_prior(map(centres, members)) for device, members in devices.items()}
    biases = {
        device: harness_bias(centres(record) for record in members if record.identity.is_baseline)
        for device, members in devices.items()
    }

    def among_others(record: Record) -> Record:
        bias = None if record.identity.is_baseline else biases.get(_device(record))
        return moderated(record, priors.get(_device(record)), bias=bias)

    return [among_others(record) for record in records]


def _device(record: Record) -> tuple[Machine, str]:
    return machine_of(record.environment), record.identity.device


def _is_out(record: Record) -> bool:
    """Tell whether a case is out of the competition: its mode did nothing, or is worse."""
    return record.no_effect is not None or record.is_worse


def _is_measured(record: Record) -> bool:
    return record.status == "ok" and record.statistics is not None


def _is_claim(record: Record) -> bool:
    return _is_measured(record) and not record.identity.is_baseline and not _is_out(record)


def _p_value(record: Record, slowed: float | None) -> float:
    """Return the p-value of a claim; 1 of one that may not be made."""
    p = None if record.statistics is None else record.statistics.p_value
    return 1.0 if p is None or record.no_verdict is not None or _far(slowed) else p


def _far(slowed: float | None) -> bool:
    """Tell whether a case ran on a machine so slow that it was another one."""
    return slowed is not None and slowed > TWO_SPEEDS_FACTOR


def _standing(record: Record, adjusted_p: float | None, slowed: float | None) -> Verdict | None:
    if _is_out(record):
        return None
    if record.verdict is not None and _far(slowed):
        return "unresolved"
    if record.verdict is None or adjusted_p is None:
        return record.verdict
    return survivor(record.verdict, adjusted_p=adjusted_p)


def _slowed(pairs: list[tuple[Machine, Record]]) -> dict[int, float | None]:
    """Return, by a record's number, by how much its baseline took longer than in its group."""
    groups: dict[tuple[Machine, Case], dict[int, float]] = defaultdict(dict)
    for number, (machine, record) in enumerate(pairs):
        if record.statistics is not None:
            groups[machine, record.identity.baseline][number] = record.statistics.baseline.median_s
    found: dict[int, float | None] = {}
    for took in groups.values():
        found.update(zip(took, slowed_by([*took.values()]), strict=True))
    return found
