"""A run to compare: the records below its ``results/``, and where and with what they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmodes.planning.cases import Case, case_at, find_records
from torchmodes.report.environments import Condition, Machine, conditions, machine_of, mapping
from torchmodes.report.verdicts import moderated_together
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Record, read_whole_records

BENCHMARK = "benchmark"
_PASSING = ("fingerprint", "machine.load_at_start", "gpu.uuid")
"""What differs between any two runs, or only repeats in digits what other lines say in words."""


@dataclass(frozen=True)
class ComparedRun:
    """The records of one run by case; its name is the path, as the user called it."""

    name: str
    records: Mapping[Case, Record]
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def unreadable_cases(self) -> set[Case]:
        """The cases of which nothing is known, because their records cannot be read."""
        return {case for one in self.unreadable if (case := case_at(one.path)) is not None}

    @property
    def machines(self) -> list[Machine]:
        """The machines that its records come from, in order."""
        return sorted({machine_of(record.environment) for record in self.records.values()})

    @property
    def finished_at(self) -> str:
        """When its last case ended: ISO 8601, UTC; empty for a run without records."""
        return max((record.finished_at for record in self.records.values()), default="")

    @property
    def revision(self) -> str | None:
        """The git revision, shortened, where all records have the same; ``+``: changed files."""
        states = {
            (git.get("revision"), bool(git.get("dirty")))
            for record in self.records.values()
            if (git := mapping(record.environment.get("git")))
        }
        if len(states) != 1:
            return None
        revision, dirty = states.pop()
        return None if revision is None else str(revision)[:8] + "+" * dirty

    @property
    def title(self) -> str:
        """Its name, revision and day: ``results (a7ec4e1b, 2026-11-21)``."""
        known = ", ".join(filter(None, (self.revision, self.finished_at[:10])))
        return f"{self.name} ({known})" if known else self.name


@dataclass(frozen=True)
class Difference:
    """A condition under which the two runs were not made alike; ``—`` where a run is silent."""

    title: str
    base: str
    this: str
    of_machine: bool


def load_compared_run(path: Path) -> ComparedRun:
    """Read the records of a run: of its ``results`` folder, or what holds or is in that.

    Raises
    ------
    ValueError
        When there is no such folder, or no record in it that can be read; the message names the
        path.
    """
    return read_compared_run(record_files(path), name=str(path))


def record_files(path: Path) -> list[Path]:
    """Return the files of a run's records; raises as `load_compared_run` does."""
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: there is no such folder")
    for folder in (path / BENCHMARK, path / "results" / BENCHMARK, path):
        if files := find_records(folder):
            return files
    raise ValueError(
        f"{path}: is no results folder: no record of a benchmarked case lies below"
        f" {path / BENCHMARK} or {path / 'results' / BENCHMARK}"
    )


def read_compared_run(files: Iterable[Path], *, name: str) -> ComparedRun:
    """Read the records of a run from their files; raises as `load_compared_run` does."""
    records, unreadable = read_whole_records(files)
    if unreadable and not records:
        raise ValueError(str(unreadable[0]))
    judged = {record.identity: record for record in moderated_together(records)}
    return ComparedRun(name, judged, tuple(unreadable))


def differences(base: ComparedRun, this: ComparedRun) -> list[Difference]:
    """Return the conditions that differ between two runs: the machine's first, then the others.

    A condition differs when the sets of its values do; a reading such as the load is none.
    """
    there, here = _conditions(base), _conditions(this)
    found = [
        Difference(
            title=(here.get(name) or there[name]).title,
            base=_text(there.get(name)),
            this=_text(here.get(name)),
            of_machine=name.split(".")[0] in ("machine", "gpu"),
        )
        for name in dict.fromkeys([*there, *here])
        if _values(there.get(name)) != _values(here.get(name))
    ]
    return sorted(found, key=lambda difference: not difference.of_machine)


def _conditions(run: ComparedRun) -> dict[str, Condition]:
    environments: list[Mapping[str, Any]] = [
        {**record.environment, "threads": record.run.threads} for record in run.records.values()
    ]
    return {c.name: c for c in conditions(environments) if c.name not in _PASSING}


def _values(condition: Condition | None) -> frozenset[str]:
    return frozenset(condition.values if condition else ())


def _text(condition: Condition | None) -> str:
    return condition.text if condition else "—"
