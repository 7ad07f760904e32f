"""Batch scaling: latency and throughput against batch size, and where more stops to help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from torchmodes.planning.cases import Case, case_at
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Record
from torchmodes.studies.catalogue import BatchPoint, BatchScaling, Series

_SERIES = ("task", "device", "model", "mode", "precision")
KNEE_SHARE = 0.9
"""The knee is the smallest batch with this share of the best throughput: beyond it, latency is
paid for little."""


def study(
    records: Iterable[Record],
    unreadable: Iterable[Unreadable] = (),
    modes: Mapping[str, Mapping[str, Any]] | None = None,
) -> BatchScaling:
    """Put the records of one mode at several batch sizes in order; `modes` are of no use here."""
    points, items = {}, {}
    for record in records:
        points[record.identity] = _point(record)
        items[_series_of(record.identity)] = record.item
    for one in unreadable:
        if (case := case_at(one.path)) is not None:
            points[case] = BatchPoint(
                batch_size=case.batch_size,
                status="unreadable",
                reason=f"{one.path} {one.reason}",
                latency_s=None,
                throughput_per_s=None,
            )
    return BatchScaling(
        series=[
            _series(series, [points[case] for case in cases], items.get(series, "item"))
            for series, cases in groupby(sorted(points, key=_in_order), key=_series_of)
        ]
    )


def knee(points: Sequence[tuple[int, float]]) -> int | None:
    """Return the smallest batch size with 90 % of the best throughput.

    Points are batch sizes and items per second; with fewer than two there is no knee.
    """
    if len(points) < 2:
        return None
    best = max(rate for _, rate in points)
    return min(size for size, rate in points if rate >= KNEE_SHARE * best)


def _series_of(case: Case) -> tuple[str, ...]:
    return tuple(getattr(case, name) for name in _SERIES)


def _in_order(case: Case) -> tuple[tuple[str, ...], int]:
    return _series_of(case), case.batch_size


def _point(record: Record) -> BatchPoint:
    statistics = record.statistics
    return BatchPoint(
        batch_size=record.case.batch_size,
        status=record.status,
        reason=record.reason,
        no_verdict=record.no_verdict,
        latency_s=None if statistics is None else statistics.candidate.median_s,
        throughput_per_s=None if statistics is None else statistics.throughput_per_s,
    )


def _series(series: tuple[str, ...], points: list[BatchPoint], item: str) -> Series:
    measured = [
        (point.batch_size, point.throughput_per_s)
        for point in points
        if point.throughput_per_s is not None
    ]
    named = dict(zip(_SERIES, series, strict=True))
    found = None if any(point.no_verdict for point in points) else knee(measured)
    return Series.model_validate({**named, "item": item, "points": points, "knee": found})
