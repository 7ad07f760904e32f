"""Batch scaling: latency and throughput against batch size, and where more stops to help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from torchmodes.cases import Case
from torchmodes.records import Record

KNEE_SHARE = 0.9
"""The knee is the smallest batch with this share of the best throughput: beyond it, latency is
paid for little."""


def scale_batches(records: Iterable[Record]) -> dict[str, Any]:
    """Put the records of one mode at several batch sizes in order.

    Returns
    -------
    dict
        ``series``, one for each model, mode, precision and device: these, ``item``, ``points``
        (``batch_size``, ``latency_s`` and ``throughput_per_s`` at the median; null where the case
        was not measured, with its ``status`` and ``reason``) and ``knee``, a batch size or null.
    """
    ordered = sorted(records, key=lambda record: (_series_of(record.identity), record.identity))
    return {
        "series": [
            _series(list(members))
            for _, members in groupby(ordered, key=lambda record: _series_of(record.identity))
        ]
    }


def knee(points: Sequence[tuple[int, float]]) -> int | None:
    """Return the smallest batch size with 90 % of the best throughput.

    Parameters
    ----------
    points
        Batch size and items per second; with fewer than two there is no knee.
    """
    if len(points) < 2:
        return None
    best = max(rate for _, rate in points)
    return min(size for size, rate in points if rate >= KNEE_SHARE * best)


def _series_of(case: Case) -> tuple[str, ...]:
    return case.task, case.device, case.model, case.mode, case.precision


def _series(records: Sequence[Record]) -> dict[str, Any]:
    case = records[0].identity
    points = [
        {
            "batch_size": record.case.batch_size,
            "status": record.status,
            "reason": record.reason,
            "latency_s": record.statistics and record.statistics.candidate.median_s,
            "throughput_per_s": record.statistics and record.statistics.throughput_per_s,
        }
        for record in records
    ]
    measured = [(r.case.batch_size, r.statistics.throughput_per_s) for r in records if r.statistics]
    return {
        **{name: getattr(case, name) for name in ("task", "device", "model", "mode", "precision")},
        "item": records[0].item,
        "points": points,
        "knee": knee(measured),
    }
