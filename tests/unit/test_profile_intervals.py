"""Intervals: the same answers as counting microsecond by microsecond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmodes.profiling.intervals import (
    capped_integral,
    contains,
    intersect,
    length,
    subtract,
    union,
)

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=12)


def as_set(drawn: list[tuple[int, int]]):
    return union([start for start, _ in drawn], [start + size for start, size in drawn])


def moments(drawn: list[tuple[int, int]]) -> set[int]:
    return {moment for start, size in drawn for moment in range(start, start + size)}


@given(spans, spans)
def test_sets_of_spans_behave_as_sets_of_moments(one, other):
    a, b = as_set(one), as_set(other)
    assert length(a) == len(moments(one))
    assert length(intersect(a, b)) == len(moments(one) & moments(other))
    assert length(subtract(a, b)) == len(moments(one) - moments(other))
    assert (contains(a, np.arange(60)) == [m in moments(one) for m in range(60)]).all()


@given(spans)
def test_a_union_is_sorted_and_disjoint(drawn):
    found = as_set(drawn)
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[1:, 0] > found[:-1, 1]).all()


def test_a_capped_integral_counts_overlaps_up_to_the_cap():
    # 0 to 2: 0.5; 2 to 4: 0.5 + 0.7, capped at 1; 4 to 6: 0.7
    assert capped_integral([0, 2], [4, 6], [0.5, 0.7], cap=1.0) == pytest.approx(1 + 2 + 1.4)
    assert capped_integral([], [], [], cap=1.0) == 0
