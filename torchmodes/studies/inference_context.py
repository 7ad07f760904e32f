"""Inference context: what forgetting ``torch.inference_mode()`` costs, per model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torchmodes.planning.cases import case_at
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Identity, Record
from torchmodes.studies.catalogue import InContext, InferenceContext


def study(
    records: Iterable[Record],
    unreadable: Iterable[Unreadable],
    modes: Mapping[str, Mapping[str, Any]],
) -> InferenceContext:
    """Put the records of eager modes that differ in their context side by side.

    The baseline of each is eager in ``inference_mode``, so its speed-up is the comparison. `modes`
    are their sections of the configuration, by name.
    """
    found = [
        *(_in_context(record, modes) for record in records),
        *(_unknown(one, modes) for one in unreadable if case_at(one.path)),
    ]
    return InferenceContext(cases=found)


def _in_context(record: Record, modes: Mapping[str, Mapping[str, Any]]) -> InContext:
    statistics = record.statistics
    return InContext(
        case=record.case,
        context=modes[record.case.mode]["context"],
        status=record.status,
        reason=record.reason,
        verdict=record.verdict,
        speed_up=None if statistics is None else statistics.speed_up,
        latency_s=None if statistics is None else statistics.candidate.median_s,
    )


def _unknown(one: Unreadable, modes: Mapping[str, Mapping[str, Any]]) -> InContext:
    case = case_at(one.path)
    assert case is not None
    return InContext(
        case=Identity(**case.identity()),
        context=modes[case.mode]["context"],
        status="unreadable",
        reason=f"{one.path} {one.reason}",
    )
