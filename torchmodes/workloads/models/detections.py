"""Detections of two runs of a detector, matched: neither their number nor their order is fixed.

A rounding error may swap two detections of nearly the same score, or bring one over the score that
is still told. So they are matched by class and overlap, the likeliest first, as when a detector is
scored against the truth (Everingham et al. 2010, The PASCAL Visual Object Classes Challenge, 4.2).
"""

from __future__ import annotations

from typing import Any

import torch

LEAST_OVERLAP = 0.5
"""Intersection over union of two boxes that may be one detection."""
SAME_OVERLAP = 0.95
"""Of borderline ones, whose partner may lack, so that the next best is another detection."""
BORDERLINE = 1.05
"""Detections whose score is at most this many times the lowest that is told may lack elsewhere."""

Detections = dict[str, torch.Tensor]
"""Of one image: boxes (n, 4), labels (n), scores (n), and what else there is of each (n, …)."""


def matched(expected: Any, actual: Any) -> tuple[Any, Any]:
    """Return both outputs of a detector with the detections that match, in one order.

    Parameters
    ----------
    expected, actual
        Detections of each image; `actual` may have the losses of training before them, as from
        TorchScript. Anything else comes back as it is.

    Returns
    -------
    tuple of list
        For each image the detections that have a partner, and as ``found`` a truth value for each
        of these and of the others but the borderline ones: true on both sides where there is a
        partner, on one side alone where there is none.
    """
    if isinstance(actual, tuple) and len(actual) == 2 and actual[0] == {}:
        actual = actual[1]
    if not (_of_images(expected) and _of_images(actual) and len(expected) == len(actual)):
        return expected, actual
    pairs = [_matched_in_image(*image) for image in zip(expected, actual, strict=True)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def _of_images(output: Any) -> bool:
    return isinstance(output, list | tuple) and all(
        isinstance(image, dict) and {"boxes", "labels", "scores"} <= image.keys()
        for image in output
    )


def _matched_in_image(expected: Detections, actual: Detections) -> tuple[Detections, Detections]:
    from torchvision.ops import box_iou

    overlap = box_iou(expected["boxes"].double(), actual["boxes"].double())
    overlap[expected["labels"][:, None] != actual["labels"][None, :]] = 0
    lowest = _borderline(expected["scores"], actual["scores"])
    clear, clear_there = expected["scores"] > lowest, actual["scores"] > lowest
    mine: list[int] = []
    theirs: list[int] = []
    if len(actual["scores"]):
        for index in expected["scores"].argsort(descending=True, stable=True).tolist():
            best = int(overlap[index].argmax())
            if overlap[index, best] >= (LEAST_OVERLAP if clear[index] else SAME_OVERLAP):
                mine.append(index)
                theirs.append(best)
                overlap[:, best] = 0
    clear[mine], clear_there[theirs] = False, False
    alone, alone_there = int(clear.sum()), int(clear_there.sum())
    pairs = [True] * len(mine)
    here = torch.tensor([*pairs, *[True] * alone, *[False] * alone_there], dtype=torch.bool)
    there = torch.tensor([*pairs, *[False] * alone, *[True] * alone_there], dtype=torch.bool)
    return (
        {**{key: value[mine] for key, value in expected.items()}, "found": here},
        {**{key: value[theirs] for key, value in actual.items()}, "found": there},
    )


def _borderline(scores: torch.Tensor, others: torch.Tensor) -> float:
    """Return the score up to which a detection is borderline: none where a side found nothing."""
    if not len(scores) or not len(others):
        return -1.0
    return BORDERLINE * float(torch.minimum(scores.min(), others.min()))
