"""The records that are there, whatever state a run is in: broken ones are told apart, not fatal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchmodes.planning.cases import Case, case_from
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.results.reading import CorruptFile, Unreadable, read_table
from torchmodes.results.records import read_whole_records


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


def _cases_of(summary: Path) -> set[Case]:
    rows = read_table(summary, numbers=["batch_size"]).to_dict("records")
    try:
        return {case_from({str(key): value for key, value in row.items()}) for row in rows}
    except (KeyError, ValueError, OverflowError) as error:
        raise CorruptFile(summary, f"is not a table of cases ({error})") from None
