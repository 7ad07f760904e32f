"""Inference context: what forgetting ``torch.inference_mode()`` costs, per model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torchmodes.planning.cases import case_at
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Record


def compare_contexts(
    records: Iterable[Record],
    contexts: Mapping[str, str],
    unreadable: Iterable[Unreadable] = (),
) -> dict[str, Any]:
    """Put the records of eager modes that differ in their context side by side.

    The baseline of each is eager in ``inference_mode``, so its speed-up is the comparison.

    Parameters
    ----------
    records
        Inference records of eager modes.
    contexts
        For each mode its ``context``: ``grad``, ``no_grad`` or ``inference_mode``.
    unreadable
        Files that should be such records.

    Returns
    -------
    dict
        ``cases``: for each its identity, ``context``, ``status``, ``reason``, ``verdict``,
        ``speed_up`` (estimate, low, high: below 1 the context costs time; null where it was not
        measured) and ``latency_s`` (median, seconds).
    """
    return {
        "cases": [
            {
                "case": record.case.model_dump(),
                "context": contexts[record.case.mode],
                "status": record.status,
                "reason": record.reason,
                "verdict": record.verdict,
                "speed_up": record.statistics and record.statistics.speed_up.model_dump(),
                "latency_s": record.statistics and record.statistics.candidate.median_s,
            }
            for record in records
        ]
        + [
            {
                "case": case.identity(),
                "context": contexts[case.mode],
                "status": "unreadable",
                "reason": f"{one.path} {one.reason}",
                "verdict": None,
                "speed_up": None,
                "latency_s": None,
            }
            for one in unreadable
            if (case := case_at(one.path)) is not None
        ]
    }
