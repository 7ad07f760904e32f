"""Runs beyond ``measurement.runs``, case by case: `make sharpen` asks for them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from torchmodes.planning.cases import FURTHER_RUNS, Case
from torchmodes.results.reading import Result, read_json
from torchmodes.results.writing import write_atomically


class FurtherRuns(Result):
    """How many runs each case is to have after each further look at it: ``[5, 8]``."""

    cases: dict[str, tuple[int, ...]] = Field(default_factory=dict)

    def of(self, case: Case) -> tuple[int, ...]:
        """Return the runs of a case at each further look; the last is what it is to have."""
        return self.cases.get(str(case), ())

    def most(self) -> int:
        """Return the most runs that any case is to have; 0 where nothing was asked for."""
        return max((runs[-1] for runs in self.cases.values() if runs), default=0)

    def with_look(self, case: Case, runs: int) -> FurtherRuns:
        """Return the same with one more look at a case, when it has so many runs."""
        return FurtherRuns(cases={**self.cases, str(case): (*self.of(case), runs)})


def read_further_runs(path: Path = Path(FURTHER_RUNS)) -> FurtherRuns:
    """Read what was asked for; nothing, where there is no such file.

    Raises
    ------
    CorruptFile
        When it is something else; without it the further runs are left out, not lost.
    """
    if not path.exists():
        return FurtherRuns()
    remedy = "delete it: the runs stay, and `make sharpen` asks for them again"
    return read_json(path, FurtherRuns, remedy=remedy)


def write_further_runs(further: FurtherRuns, path: Path = Path(FURTHER_RUNS)) -> None:
    """Write what is asked for."""
    write_atomically(path, further.model_dump_json(indent=1) + "\n")
