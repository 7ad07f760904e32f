"""Thread scaling: what each further thread brings, one thread and n interleaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchmodes.machine.environment import describe_environment
from torchmodes.studies.catalogue import Threads, ThreadScaling
from torchmodes.studies.jobs import CaseRunner

THREADS_AT_CALL = ("eager", "fx", "torchscript", "export", "quantize")
"""Engines that ask for PyTorch's number of threads at each call. Others fix it when they compile
or open a session, so that one process cannot compare two numbers."""


def study(cases: Sequence[Mapping[str, Any]], runner: CaseRunner) -> ThreadScaling:
    """Measure each case with one thread against several, in one process per case."""
    environment = describe_environment()
    rows = [_with_several(parameters, runner) for parameters in cases]
    return ThreadScaling(cases=rows, environment=environment)


def _with_several(parameters: Mapping[str, Any], runner: CaseRunner) -> Threads:
    engine = parameters["mode"]["engine"]
    if engine not in THREADS_AT_CALL:
        reason = f"the engine {engine} fixes its number of threads when it prepares the model"
        return Threads(case=parameters["case"], status="unsupported", reason=reason)
    parts = runner.run(
        "torchmodes.studies.threads_job:measure_threads",
        parameters,
        counts=thread_counts(runner.threads),
    )
    return Threads.model_validate({**parts, "case": parameters["case"]})


def thread_counts(cores: int) -> list[int]:
    """Return the powers of two up to a number of cores, and that number.

    >>> thread_counts(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**exponent for exponent in range(cores.bit_length()) if 2**exponent < cores]
    return [*powers, cores]
