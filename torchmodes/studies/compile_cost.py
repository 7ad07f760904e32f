"""Compile cost: what a second start costs when the first one has filled the compile caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.processes.folders import private_folder
from torchmodes.processes.jobs import caches_in
from torchmodes.studies.catalogue import CompileCost, Start
from torchmodes.studies.jobs import CaseRunner

STARTS = ("cold", "warm")


def study(cases: Sequence[Mapping[str, Any]], runner: CaseRunner) -> CompileCost:
    """Start each case twice, in two processes that share one compile cache, empty at first."""
    environment = describe_environment()
    starts = [_start_twice(parameters, runner) for parameters in cases]
    return CompileCost(cases=starts, environment=environment)


def _start_twice(parameters: Mapping[str, Any], runner: CaseRunner) -> Start:
    started: dict[str, Any] = {"case": parameters["case"]}
    with private_folder("cache-") as cache:
        for start in STARTS:
            parts = runner.run(
                "torchmodes.measure.case:start", parameters, environment=caches_in(cache)
            )
            if parts["status"] != "ok":
                started |= {"status": parts["status"], "reason": parts["reason"]}
                break
            started[f"{start}_s"] = parts["prepare_s"] + parts["first_call_s"]
    return Start.model_validate(started)
