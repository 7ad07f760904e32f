"""The processes of a study that runs cases itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchmodes.processes.jobs import run_job
from torchmodes.workloads.modes import uses_custom_operators


@dataclass(frozen=True)
class CaseRunner:
    """Runs a case in a process of its own.

    Attributes
    ----------
    threads
        Threads to compute with.
    table
        Paths of the table and its statistics; training cases need them.
    operators
        Path of the custom operators, or None when no case uses them.
    log
        File for everything the processes print.
    """

    threads: int
    table: Sequence[str]
    operators: str | None
    log: Path

    def run(
        self,
        target: str,
        parameters: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Return what ``package.module:function`` returns for a case, ``status`` among it.

        Parameters
        ----------
        parameters
            What `torchmodes.planning.cases.case_parameters` returns.
        environment
            Variables to set in the process.
        more
            What else the function is told.
        """
        operators = self.operators if uses_custom_operators(parameters["mode"]) else None
        argument = {
            "parameters": dict(parameters),
            "threads": self.threads,
            "table": list(self.table),
            "operators": operators,
            **more,
        }
        parts, _ = run_job(target, argument, log=self.log, environment=environment)
        return parts
