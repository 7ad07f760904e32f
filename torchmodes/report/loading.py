"""The files of a run, read for report and app: what cannot be read is left out, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from torchmodes.planning.cases import Case, case_from, parse_case
from torchmodes.planning.provenance import file_digest
from torchmodes.profiling.reading import DiffFile, RooflineFile, read_content, read_profile
from torchmodes.report.data import CASES_SHOWN, ReportData, Study, TrainingRun, make_report_data
from torchmodes.results.reading import CorruptFile, Unreadable, read_table
from torchmodes.results.records import read_whole_records
from torchmodes.studies.catalogue import read_study
from torchmodes.workloads.training.metrics import HISTORY, read_history, read_metrics

T = TypeVar("T")


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
    whole, unreadable = read_whole_records(records, blocks=len(records) <= CASES_SHOWN)
    missed: list[Unreadable] = []
    placed = None if roofline is None else _or_missed(_read_roofline, roofline, missed)
    changes = _readable(lambda path: read_content(path, DiffFile), diffs, missed)
    return make_report_data(
        whole,
        trainings=_read_trainings(_folders(trainings), missed),
        profiles=[read_profile(folder) for folder in _folders(profiles)],
        config=config or {},
        studies=_readable(lambda path: Study(path.stem, read_study(path)), studies, missed),
        data_digest=None if table is None else _digest(table, missed),
        roofline=placed or {},
        diffs=changes,
        unreadable_cases=unreadable,
        unreadable_files=missed,
    )


@dataclass(frozen=True)
class Existing:
    """Records that could be read, and what is wrong with the others.

    Attributes
    ----------
    data
        The cases of the last report, judged together as it judged them.
    others
        The same with the records the last report does not hold; None where there are none.
    broken
        The files that are no records, and the summary where it is none.
    """

    data: ReportData
    others: ReportData | None
    broken: tuple[Unreadable, ...]


def load_existing(records: Sequence[Path], summary: Path) -> Existing:
    """Read records one by one and judge those of the last finished run together.

    Verdicts depend on how many cases are compared, so a record that was asked for alone would
    change those of the report.

    Parameters
    ----------
    records
        Record files.
    summary
        The tidy table of the last finished run, which names its cases; without one, every record
        belongs to the run.
    """
    whole, broken = read_whole_records(records)
    reported = None
    if summary.exists():
        try:
            reported = _cases_of(summary)
        except CorruptFile as error:
            broken.append(error.unreadable)
    inside = [r for r in whole if reported is None or r.identity in reported]
    return Existing(
        data=make_report_data(inside),
        others=None if len(inside) == len(whole) else make_report_data(whole),
        broken=tuple(broken),
    )


def _folders(paths: Sequence[Path]) -> list[Path]:
    """Return the folders that files lie in, each once; a folder stands for itself."""
    # A folder in the place of a file is for its reader to tell.
    return sorted(
        {
            path if path.is_dir() and path.suffix not in (".json", ".csv") else path.parent
            for path in paths
        }
    )


def _read_trainings(folders: Iterable[Path], missed: list[Unreadable]) -> list[TrainingRun]:
    """Read trainings; one without its history still has its figures."""
    found = []
    for folder in folders:
        metrics = _or_missed(read_metrics, folder / "metrics.json", missed)
        if metrics is not None:
            history = _or_missed(read_history, folder / "history.csv", missed)
            if history is None:
                history = pd.DataFrame(columns=list(HISTORY), dtype=float)
            found.append(TrainingRun(metrics, history))
    return found


def _digest(table: Path, missed: list[Unreadable]) -> str | None:
    try:
        return file_digest(table)
    except OSError as error:
        missed.append(Unreadable(table, f"cannot be read ({error.strerror})"))
        return None


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


def _or_missed(read: Callable[[Path], T], path: Path, missed: list[Unreadable]) -> T | None:
    try:
        return read(path)
    except CorruptFile as error:
        missed.append(error.unreadable)
        return None


def _readable(
    read: Callable[[Path], T], paths: Iterable[Path], missed: list[Unreadable]
) -> list[T]:
    found = [_or_missed(read, path, missed) for path in sorted(paths)]
    return [one for one in found if one is not None]


def _cases_of(summary: Path) -> set[Case]:
    rows = read_table(summary, numbers=["batch_size"]).to_dict("records")
    try:
        return {case_from({str(key): value for key, value in row.items()}) for row in rows}
    except (KeyError, ValueError, OverflowError) as error:
        raise CorruptFile(summary, f"is not a table of cases ({error})") from None
