"""Statistics of a schedule: by shape, by pass over all batches, and without the effect of lengths.

A block belongs to one batch, which all of its four samples took. So the blocks' ratios are paired
as always, while plain medians mix short and long batches: here they are taken batch by batch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchmodes.measure import statistics
from torchmodes.results.records import Block, Schedule, ScheduledBatch, ShapeTimes

if TYPE_CHECKING:  # the report draws on this module, and needs no PyTorch
    from torchmodes.workloads.batches import BatchSchedule


NOT_EVERY_BATCH = "not every batch of the schedule was timed"
"""How the warning begins of a run too short for a pass; others of the case may complete it."""


def describe(
    schedule: BatchSchedule | None,
    blocks: Sequence[Block],
    *,
    batch_size: int,
    recompiles: int,
    recompiles_while_sampling: int,
) -> Schedule | None:
    """Return what a record tells of a schedule and of the blocks that count, if there is one.

    The recompiles are graphs that TorchDynamo compiled for other batches than the first, and later.
    """
    if schedule is None:
        return None
    known = schedule.tokens or [None] * len(schedule.batches)
    shapes = schedule.shapes
    told = Schedule(
        padding=schedule.padding,
        items=batch_size * len(shapes),
        left_out=schedule.left_out,
        truncated=schedule.truncated,
        useful_share=sum(schedule.tokens) / sum(map(math.prod, shapes))
        if schedule.tokens
        else None,
        recompiles=recompiles,
        recompiles_while_sampling=recompiles_while_sampling,
        batches=[
            ScheduledBatch(shape=shape, tokens=tokens)
            for shape, tokens in zip(shapes, known, strict=True)
        ],
    )
    return with_times(told, blocks)


def with_times(schedule: Schedule, blocks: Sequence[Block]) -> Schedule:
    """Return a schedule with the times of some blocks: by shape, and of a whole pass."""
    baseline, candidate = statistics.sides_of(blocks)
    numbers = np.array([block.batch or 0 for block in blocks])  # a schedule of one numbers none
    shapes = [batch.shape for batch in schedule.batches]
    times = []
    for shape in sorted(set(shapes)):
        of_shape = [number for number, other in enumerate(shapes) if other == shape]
        taken = np.isin(numbers, of_shape)
        times.append(
            ShapeTimes(
                shape=shape,
                batches=len(of_shape),
                samples=candidate[taken].size,
                baseline_median_s=_median(baseline[taken]),
                median_s=_median(candidate[taken]),
            )
        )
    whole = set(numbers.tolist()) >= set(range(len(shapes)))
    return schedule.model_copy(
        update={
            "shapes": times,
            "baseline_pass_s": sum(_batch_medians(baseline, numbers)) if whole else None,
            "pass_s": sum(_batch_medians(candidate, numbers)) if whole else None,
        }
    )


def cautions_of(schedule: Schedule) -> list[str]:
    """Return reasons to trust the figures of a schedule less."""
    warnings = []
    if schedule.pass_s is None:
        warnings.append(f"{NOT_EVERY_BATCH}: raise measurement.budget_s")
    if schedule.recompiles_while_sampling:
        warnings.append("PyTorch compiled while samples were taken: some of them include that time")
    return warnings


def items_per_second(
    times: NDArray[np.float64], blocks: Sequence[Block], *, items_per_call: int
) -> float:
    """Return the candidate's items per second; of a schedule, at its batches' mean latency.

    Each batch's is the median. The times, shape (blocks, 2), are seconds per call of the candidate.
    """
    if (numbers := _numbers(blocks)) is None:
        return items_per_call / float(np.median(statistics.every_call(blocks)[1]))
    return items_per_call / float(np.mean(_batch_medians(times, numbers)))


def levelled(times: NDArray[np.float64], blocks: Sequence[Block]) -> NDArray[np.float64]:
    """Return times as though all batches were alike, so that what is left is the machine's doing.

    Each is divided by the median of its batch, and multiplied by the median of all.
    """
    if (numbers := _numbers(blocks)) is None:
        return times
    medians = {number: np.median(times[numbers == number]) for number in set(numbers.tolist())}
    own = np.array([medians[number] for number in numbers.tolist()])
    return times / own[:, None] * np.median(times)


def compiled_graphs() -> int:
    """Count the graphs that TorchDynamo has compiled in this process, each recompile anew."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else dynamo.counters["stats"]["unique_graphs"]


def _numbers(blocks: Sequence[Block]) -> NDArray[np.int64] | None:
    numbers = [block.batch for block in blocks]
    return None if None in numbers else np.array(numbers)


def _batch_medians(times: NDArray[np.float64], numbers: NDArray[np.int64]) -> list[float]:
    return [float(np.median(times[numbers == number])) for number in sorted(set(numbers.tolist()))]


def _median(times: NDArray[np.float64]) -> float | None:
    return float(np.median(times)) if times.size else None
