"""Detections are matched by class and overlap: neither their number nor their order is fixed."""

from __future__ import annotations

import re

import pytest
import torch

from torchmodes.measure.numerics import compare, compares_nothing
from torchmodes.workloads.models.detections import matched


def image(*found: tuple[float, float, int]) -> dict[str, torch.Tensor]:
    """Return detections of one image: score, left edge of a box of 10 × 10, and class of each."""
    boxes = [[left, 0.0, left + 10.0, 10.0] for _, left, _ in found]
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor([label for *_, label in found], dtype=torch.long),
        "scores": torch.tensor([score for score, *_ in found]),
    }


CAT, DOG, FAINT = (0.9, 0.0, 1), (0.8, 100.0, 2), (0.3, 200.0, 1)


def judged(expected, actual, precision="fp32"):
    return compare(expected, actual, precision=precision, align=matched)


@pytest.mark.parametrize(
    "actual",
    [
        [image(CAT, DOG, FAINT)],
        [image(DOG, FAINT, CAT)],
        [image((0.900001, 0.000001, 1), DOG, FAINT)],
        [image(CAT, DOG)],
        [image(CAT, DOG, (0.3, 202.0, 1))],
        [image(CAT, DOG, FAINT, (0.301, 300.0, 3))],
        ({}, [image(CAT, DOG, FAINT)]),
    ],
    ids=[
        "same",
        "another order",
        "rounded",
        "one less at the border",
        "its neighbour there",
        "one more there",
        "scripted",
    ],
)
def test_what_is_the_same_but_for_order_and_the_borderline_is_right(actual):
    assert judged([image(CAT, DOG, FAINT)], actual).within_tolerance


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (image(DOG, FAINT), r"found'\]: 33 % of the truth values differ"),
        (image(CAT, DOG, FAINT, (0.7, 300.0, 3)), r"found'\]: 25 % of the truth values differ"),
        (image((0.9, 0.0, 2), DOG, FAINT), r"found'\]: 50 % of the truth values differ"),
        (image((0.9, 8.0, 1), DOG, FAINT), r"found'\]: 50 % of the truth values differ"),
        (image((0.9, 1.0, 1), DOG, FAINT), r"boxes'\]: relative L2 error"),
        (image((0.6, 0.0, 1), DOG, FAINT), r"scores'\]: relative L2 error"),
    ],
    ids=["one is missing", "one too many", "another class", "elsewhere", "moved", "another score"],
)
def test_what_is_found_otherwise_is_wrong(actual, told):
    numerics = judged([image(CAT, DOG, FAINT)], [actual])
    assert not numerics.within_tolerance
    assert re.search(told, numerics.reason)


def test_nothing_found_is_right_where_nothing_was_expected_alone():
    assert judged([image()], [image()]).within_tolerance
    assert not judged([image(CAT)], [image()]).within_tolerance
    assert not judged([image(CAT, DOG)], [image()]).within_tolerance
    assert not judged([image()], [image(CAT, DOG)]).within_tolerance


def test_what_else_is_told_of_a_detection_follows_it():
    masks = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    expected = image(CAT, DOG) | {"masks": masks}
    swapped = image(DOG, CAT) | {"masks": masks.flip(0)}
    assert judged([expected], [swapped]).within_tolerance
    assert not judged([expected], [swapped | {"masks": masks}]).within_tolerance


@pytest.mark.parametrize(
    ("expected", "actual", "nothing"),
    [
        ([image()], [image()], True),
        ([image(FAINT)], [image((0.3, 280.0, 1))], True),  # each borderline, and alone
        ([image(FAINT)], [image(FAINT)], False),
        ([image(FAINT)], [image()], False),
    ],
)
def test_that_nothing_was_compared_is_seen(expected, actual, nothing):
    assert compares_nothing(expected, actual, align=matched) is nothing


def test_fewer_images_are_told_as_for_any_output():
    assert "tensors" in judged([image(CAT), image(DOG)], [image(CAT)]).reason
