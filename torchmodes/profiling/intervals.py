"""Arithmetic of time intervals: sets of disjoint spans as arrays, without a Python loop.

A *set* is an array of shape (n, 2), start and end of each span, sorted and disjoint. All lengths
are in the unit of what is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Spans = NDArray[np.float64]
EMPTY: Spans = np.empty((0, 2))


def union(starts: ArrayLike, ends: ArrayLike) -> Spans:
    """Merge spans, shape (n,) in any order, that overlap or touch into a set.

    Spans without a length vanish.
    """
    start, end = np.asarray(starts, dtype=float), np.asarray(ends, dtype=float)
    start, end = start[end > start], end[end > start]
    if not len(start):
        return EMPTY
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate([[True], start[1:] > end[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.column_stack([start[first], end[last]])


def intersect(one: Spans, other: Spans) -> Spans:
    """Return what lies in both sets."""
    return _where(one, other, inside=True)


def subtract(one: Spans, other: Spans) -> Spans:
    """Return what lies in the first set and not in the other."""
    return _where(one, other, inside=False)


def length(spans: Spans) -> float:
    """Return the total length of a set."""
    return float((spans[:, 1] - spans[:, 0]).sum())


def contains(spans: Spans, points: ArrayLike) -> NDArray[np.bool_]:
    """Say of each point whether it lies in a set; a span holds its start, not its end."""
    at = np.asarray(points, dtype=float)
    if not len(spans):
        return np.zeros(at.shape, dtype=bool)
    before = np.searchsorted(spans[:, 0], at, side="right") - 1
    return (before >= 0) & (at < spans[np.maximum(before, 0), 1])


def capped_integral(starts: ArrayLike, ends: ArrayLike, weights: ArrayLike, *, cap: float) -> float:
    """Integrate min(cap, sum of the weights of the spans at that time) over time.

    Spans and weights have the shape (n,), in any order; spans may overlap.
    """
    start, end, weight = (np.asarray(values, dtype=float) for values in (starts, ends, weights))
    edges = np.concatenate([start, end])
    order = np.argsort(edges, kind="stable")
    height = np.cumsum(np.concatenate([weight, -weight])[order])
    return float((np.minimum(height[:-1], cap) * np.diff(edges[order])).sum())


def _where(one: Spans, other: Spans, *, inside: bool) -> Spans:
    edges = np.unique(np.concatenate([one.ravel(), other.ravel()]))
    if len(edges) < 2:
        return EMPTY
    start, end = edges[:-1], edges[1:]
    kept = contains(one, start) & (contains(other, start) == inside)
    return union(start[kept], end[kept])
