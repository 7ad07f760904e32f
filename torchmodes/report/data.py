"""What the report is made of: records, trainings and profiles, loaded and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from torchmodes.planning.cases import Case, parse_case
from torchmodes.planning.provenance import file_digest
from torchmodes.profiling.reading import (
    DiffFile,
    OverviewFile,
    RooflineFile,
    SummaryFile,
    read_content,
)
from torchmodes.report.environments import Machine, machine_of
from torchmodes.report.verdicts import Deployment, JudgedRecord, judge
from torchmodes.results.reading import CorruptFile, Unreadable, read_table
from torchmodes.results.records import Record, read_whole_records
from torchmodes.studies.results import read_study
from torchmodes.workloads.training.metrics import HISTORY, Metrics, read_history, read_metrics

T = TypeVar("T")

OPERATORS_SHOWN = 15
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

    @property
    def status(self) -> str:
        """As of a record."""
        return self.metrics.status

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment it ran in; empty where it was not written."""
        return self.metrics.environment


@dataclass(frozen=True)
class CaseProfile:
    """Files that explain one case.

    Attributes
    ----------
    traces
        Chrome traces, for Perfetto.
    operators
        Where the time went, the most expensive first; None where there is no table.
    facts
        Plain values of ``summary.json``.
    summary, overview
        ``summary.json`` and ``overview.json`` as they are; empty where they are missing.
    layers, memory
        ``layers.csv`` and ``memory.csv``; None where they are missing.
    broken
        What is wrong with files that could not be read; each names its file.
    """

    case: Case
    traces: tuple[Path, ...]
    operators: pd.DataFrame | None
    facts: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)
    overview: Mapping[str, Any] = field(default_factory=dict)
    layers: pd.DataFrame | None = None
    memory: pd.DataFrame | None = None
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """One study of the run: its name and what its file holds."""

    name: str
    content: Mapping[str, Any]


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
    trainings: tuple[TrainingRun, ...]
    profiles: tuple[CaseProfile, ...]
    config: Mapping[str, Any]
    studies: tuple[Study, ...] = ()
    data_digest: str | None = None
    roofline: Mapping[str, Any] = field(default_factory=dict)
    diffs: tuple[Mapping[str, Any], ...] = ()
    unreadable_cases: tuple[Unreadable, ...] = ()
    unreadable_files: tuple[Unreadable, ...] = ()
    broken: tuple[str, ...] = ()
    """What is wrong with the roofline or a diff that could not be read; each names its file."""

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [judged.record for judged in self.cases]

    @property
    def machines(self) -> list[Machine]:
        """The machines that the results come from, in order."""
        of_trainings = (machine_of(run.environment) for run in self.trainings if run.environment)
        return sorted({*(judged.machine for judged in self.cases), *of_trainings})

    @property
    def deployments(self) -> list[Deployment]:
        """What the cases are about, in order."""
        return list(dict.fromkeys(judged.deployment for judged in self.cases))

    @property
    def environments(self) -> list[Mapping[str, Any]]:
        """The environments of all records and trainings."""
        found = [record.environment for record in self.records]
        return [e for e in (*found, *(run.environment for run in self.trainings)) if e]

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


def load_report_data(
    records: Sequence[Path],
    trainings: Sequence[Path] = (),
    profiles: Sequence[Path] = (),
    config: Mapping[str, Any] | None = None,
    *,
    studies: Sequence[Path] = (),
    table: Path | None = None,
    roofline: Path | None = None,
    diffs: Sequence[Path] = (),
) -> ReportData:
    """Read everything the report needs; what cannot be read is left out, and named.

    Parameters
    ----------
    records
        Record files of benchmarked cases.
    trainings
        Files or folders of ``results/training/{mode}/``; each folder is read once.
    profiles
        Files or folders of ``results/profile/{case}/``; each folder is read once.
    config
        The configuration of the run, shown as it is.
    studies
        Files ``results/studies/{study}.json``.
    table
        The data file the models were trained on; its digest is shown.
    roofline
        ``results/roofline.json``.
    diffs
        Files ``results/profile/diff/{a}--vs--{b}.json``.

    Raises
    ------
    ValueError
        When a file of a profile is not where it should be; the message names it.
    """
    # Only the figure of single samples needs them, and it shows no more cases than that.
    whole, unreadable = read_whole_records(records, quads=len(records) <= CASES_SHOWN)
    missed: list[Unreadable] = []
    broken: list[str] = []
    placed = None if roofline is None else _or_broken(_read_roofline, roofline, broken)
    changes = [_or_broken(_read_diff, path, broken) for path in sorted(diffs)]
    return make_report_data(
        whole,
        trainings=_read_trainings(_folders(trainings), missed),
        profiles=_read_profiles(_folders(profiles)),
        config=config or {},
        studies=_read_studies(sorted(map(Path, studies)), missed),
        data_digest=None if table is None else _digest(table, missed),
        roofline=placed,
        diffs=[change for change in changes if change is not None],
        broken=broken,
        unreadable_cases=unreadable,
        unreadable_files=missed,
    )


def make_report_data(
    records: Iterable[Record],
    *,
    trainings: Iterable[TrainingRun] = (),
    profiles: Iterable[CaseProfile] = (),
    config: Mapping[str, Any] | None = None,
    studies: Iterable[Study] = (),
    data_digest: str | None = None,
    roofline: Mapping[str, Any] | None = None,
    diffs: Iterable[Mapping[str, Any]] = (),
    unreadable_cases: Iterable[Unreadable] = (),
    unreadable_files: Iterable[Unreadable] = (),
    broken: Iterable[str] = (),
) -> ReportData:
    """Judge records and put them together with what else there is."""
    return ReportData(
        cases=judge(records),
        trainings=tuple(sorted(trainings, key=lambda run: (run.mode != "eager", run.mode))),
        profiles=tuple(sorted(profiles, key=lambda profile: profile.case)),
        config=config or {},
        studies=tuple(studies),
        data_digest=data_digest,
        roofline=roofline or {},
        diffs=tuple(diffs),
        unreadable_cases=tuple(unreadable_cases),
        unreadable_files=tuple(unreadable_files),
        broken=tuple(broken),
    )


def _folders(paths: Sequence[Path]) -> list[Path]:
    """Return the folders that files lie in, each once; a folder stands for itself."""
    # A folder in the place of a file is for its reader to tell.
    return sorted(
        {
            path if path.is_dir() and path.suffix not in (".json", ".csv") else path.parent
            for path in map(Path, paths)
        }
    )


def _read_trainings(folders: Iterable[Path], missed: list[Unreadable]) -> list[TrainingRun]:
    """Read trainings; one without its history still has its figures."""
    found = []
    for folder in folders:
        try:
            metrics = read_metrics(folder / "metrics.json")
        except CorruptFile as error:
            missed.append(error.unreadable)
            continue
        try:
            history = read_history(folder / "history.csv")
        except CorruptFile as error:
            missed.append(error.unreadable)
            history = pd.DataFrame(columns=list(HISTORY), dtype=float)
        found.append(TrainingRun(metrics, history))
    return found


def _read_studies(paths: Iterable[Path], missed: list[Unreadable]) -> list[Study]:
    found = []
    for path in paths:
        try:
            found.append(Study(path.stem, read_study(path)))
        except CorruptFile as error:
            missed.append(error.unreadable)
    return found


def _digest(table: Path, missed: list[Unreadable]) -> str | None:
    try:
        return file_digest(table)
    except OSError as error:
        missed.append(Unreadable(table, f"cannot be read ({error.strerror})"))
        return None


def _read_profiles(folders: Iterable[Path]) -> list[CaseProfile]:
    return [_read_profile(folder) for folder in folders]


def _read_profile(folder: Path) -> CaseProfile:
    """Read a profile; a broken file costs no more than what it holds."""
    broken: list[str] = []

    def there(name: str, read: Callable[[Path], T]) -> T | None:
        path = folder / name
        return _or_broken(read, path, broken) if path.exists() else None

    summary = there("summary.json", lambda path: read_content(path, SummaryFile)) or {}
    return CaseProfile(
        case=parse_case(folder.as_posix()),
        traces=tuple(sorted([*folder.glob("*trace.json"), *folder.glob("*trace.json.gz")])),
        operators=there("operators.csv", _read_operators),
        facts={k: v for k, v in summary.items() if isinstance(v, str | int | float)},
        summary=summary,
        overview=there("overview.json", lambda path: read_content(path, OverviewFile)) or {},
        layers=there("layers.csv", _read_layers),
        memory=there("memory.csv", _read_memory),
        broken=tuple(broken),
    )


def _read_operators(path: Path) -> pd.DataFrame:
    table = read_table(path, texts=["operator"], rows=OPERATORS_SHOWN)
    return table.loc[:, (table != 0).any()]  # device times of a CPU profile are all zero


def _read_layers(path: Path) -> pd.DataFrame:
    return read_table(path, texts=["layer", "kind"], numbers=["order", "total_s"])


def _read_memory(path: Path) -> pd.DataFrame:
    numbers = ["time_s", "rss_bytes", "allocated_bytes", "reserved_bytes"]
    return read_table(path, texts=["phase"], numbers=numbers)


def _read_roofline(path: Path) -> Mapping[str, Any]:
    content = read_content(path, RooflineFile)
    for point in content["points"]:
        try:
            device = parse_case(point["case"]).device
        except ValueError as error:
            raise CorruptFile(path, f"cannot be read ({error})") from None
        if point["share"] is not None and device not in content["machines"]:
            raise CorruptFile(path, f"cannot be read (machines.{device} is missing)")
    return content


def _read_diff(path: Path) -> Mapping[str, Any]:
    return read_content(path, DiffFile)


def _or_broken(read: Callable[[Path], T], path: Path, broken: list[str]) -> T | None:
    try:
        return read(path)
    except ValueError as error:
        broken.append(str(error))
        return None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); delete it and run snakemake again"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; delete it and run snakemake again")
    return content
