"""The cases that are profiled because of what was measured: read by the workflow as it plans."""

from __future__ import annotations

from pathlib import Path

from torchmodes.planning.cases import Case, parse_case
from torchmodes.results.reading import Result, read_json


class ChosenProfiles(Result):
    """What is profiled, and the pairs that are compared; each as ``task/device/model/…``."""

    cases: tuple[str, ...] = ()
    diffs: tuple[tuple[str, str], ...] = ()

    @property
    def profiled(self) -> list[Case]:
        """The cases to profile."""
        return [parse_case(name) for name in self.cases]

    @property
    def compared(self) -> list[tuple[Case, Case]]:
        """The pairs to compare: eager, and what is shipped or its runner-up."""
        return [(parse_case(a), parse_case(b)) for a, b in self.diffs]


def read_chosen(path: Path) -> ChosenProfiles:
    """Read what was chosen.

    Raises
    ------
    CorruptFile
        When it is something else.
    """
    return read_json(path, ChosenProfiles, remedy="delete it: it is made again from the records")
