"""What the report is made of: judged records, trainings, profiles and studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import pandas as pd

from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.environments import (
    Condition,
    Machine,
    conditions,
    machine_of,
    short_names,
)
from torchmodes.report.verdicts import Deployment, JudgedRecord, judge
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Record
from torchmodes.studies.catalogue import StudyResult
from torchmodes.workloads.training.metrics import Metrics

CASES_SHOWN = 300
"""What figures and long tables show at the most; the summary holds every case of any run."""


@dataclass(frozen=True)
class TrainingRun:
    """The house-price model trained in one mode.

    Attributes
    ----------
    metrics
        What ``metrics.json`` holds.
    history
        One row per epoch: epoch, train_loss, validation_loss (mean squared error of the z-scored
        target) and seconds; no rows where the status is not ``ok``, or it cannot be read.
    """

    metrics: Metrics
    history: pd.DataFrame

    @property
    def mode(self) -> str:
        """The mode that was trained in."""
        return self.metrics.mode


@dataclass(frozen=True)
class Study:
    """One study of the run: its name and what its file holds."""

    name: str
    result: StudyResult


@dataclass(frozen=True)
class ReportData:
    """Everything the report is made of; made by `load_report_data` or `make_report_data`.

    Attributes
    ----------
    unreadable_cases
        Files that should be records of cases, and are not.
    unreadable_files
        Other files without which a part of the report is left out.
    """

    cases: tuple[JudgedRecord, ...]
    trainings: Sequence[TrainingRun] = ()
    profiles: Sequence[CaseProfile] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    studies: Sequence[Study] = ()
    data_digest: str | None = None
    roofline: Mapping[str, Any] = field(default_factory=dict)
    diffs: Sequence[Mapping[str, Any]] = ()
    unreadable_cases: Sequence[Unreadable] = ()
    unreadable_files: Sequence[Unreadable] = ()

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [judged.record for judged in self.cases]

    @cached_property
    def machines(self) -> list[Machine]:
        """The machines that the results come from, in order."""
        measured_on = {judged.machine for judged in self.cases}
        return sorted(measured_on.union(map(machine_of, self.environments)))

    @cached_property
    def deployments(self) -> list[Deployment]:
        """What the cases are about, in order."""
        return list(dict.fromkeys(judged.deployment for judged in self.cases))

    @property
    def environments(self) -> list[Mapping[str, Any]]:
        """The environments of all records and trainings."""
        sources = (*self.records, *(run.metrics for run in self.trainings))
        return [source.environment for source in sources if source.environment]

    @cached_property
    def conditions(self) -> list[Condition]:
        """Under which settings and versions the results were made; see `conditions`."""
        return conditions(self.environments)

    @cached_property
    def places(self) -> dict[Machine, str]:
        """What each machine is called beside the others."""
        return short_names(self.machines)

    def host_beside(self, machine: Machine) -> str:
        """Return what titles add for a machine: its host, where there are several."""
        return f" · {machine.host}" if len(self.machines) > 1 and machine.host else ""

    def anchor(self, judged: JudgedRecord) -> str:
        """Return the id of a case on the page: its path, of several machines also whose."""
        if len(self.places) < 2:
            return str(judged.case)
        return f"{judged.case}@{self.places[judged.machine].replace(' ', '-')}"

    def excerpt(self) -> ReportData:
        """Return the same with `CASES_SHOWN` cases at the most: whole deployments, the first."""
        if len(self.cases) <= CASES_SHOWN:
            return self
        kept: list[JudgedRecord] = []
        for _, members in groupby(self.cases, key=lambda judged: judged.deployment):
            cases = list(members)
            if kept and len(kept) + len(cases) > CASES_SHOWN:
                break
            kept += cases
        return replace(self, cases=tuple(kept[:CASES_SHOWN]))

    def about(self, deployment: Deployment) -> ReportData:
        """Return the same with the cases of one deployment only."""
        return replace(self, cases=tuple(c for c in self.cases if c.deployment == deployment))


def make_report_data(
    records: Iterable[Record],
    *,
    trainings: Iterable[TrainingRun] = (),
    profiles: Iterable[CaseProfile] = (),
    **more: Any,
) -> ReportData:
    """Judge records, order trainings and profiles, and join them with more fields of the data."""
    return ReportData(
        cases=judge(records),
        trainings=sorted(trainings, key=lambda run: (run.mode != "eager", run.mode)),
        profiles=sorted(profiles, key=lambda profile: profile.case),
        **more,
    )
