"""What a case must compute and move at least: floating-point operations and bytes.

Both are counted on the eager model, by shape, so they are the same for every mode of a case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from torchmodes.planning.job import EAGER, Job
from torchmodes.workloads.models.flops import count_flops, encoders_layer_by_layer, flops_of
from torchmodes.workloads.structures import tensors_of
from torchmodes.workloads.workload import workload_of

GATHERS = ("embedding", "index", "index_select", "gather")
"""Operators that read only some rows of their first tensor: as much as they return."""
ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
COUNTED_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@dataclass(frozen=True)
class Work:
    """What one call of a case amounts to.

    Attributes
    ----------
    flops, module_flops
        Floating-point operations of matrix products, convolutions, recurrences and attention, and
        those of the forward pass by module; None where there are none, or not all could be counted.
    flops_fault
        Why not all could be counted; None where they were.
    compulsory_bytes
        What memory must carry however well the operators are fused: every tensor that is there
        before the call (weights, optimiser state, inputs) and is read, once; every such tensor
        that is written, once; and the output. None in int8, whose layouts differ by library.
    operator_bytes
        What memory carries when each operator reads its operands and writes its results, as eager
        code does where nothing stays in a cache. The excess is what fusion can save.
    """

    flops: int | None
    flops_fault: str | None
    compulsory_bytes: int | None
    operator_bytes: int | None
    module_flops: Mapping[str, int | None]


class TrafficMode(TorchDispatchMode):
    """Counts the bytes that operators read and write: of the operands and results of every one."""

    def __init__(self) -> None:
        super().__init__()
        self.operator_bytes = 0
        self._made: set[int] = set()
        self._read: dict[int, int] = {}
        self._written: dict[int, int] = {}

    @property
    def external_bytes(self) -> int:
        """Bytes of tensors from before, read and written, each once."""
        return sum(self._read.values()) + sum(self._written.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        writes = [returned.alias_info for returned in func._schema.returns]
        if any(alias is not None and not alias.is_write for alias in writes):
            return result  # a view moves nothing
        made = tensors_of(result)
        if name in ALLOCATIONS:
            self._made |= {_storage(tensor) for tensor in made}
            return result
        for position, tensor in enumerate(tensors_of((args, kwargs or {}))):
            size = tensor.nbytes
            if position == 0 and name in GATHERS:
                size = min(size, sum(tensor.nbytes for tensor in made))
            self.operator_bytes += size
            if _storage(tensor) not in self._made:
                self._read[_storage(tensor)] = max(size, self._read.get(_storage(tensor), 0))
        for tensor in made or _mutated(func, args):
            self.operator_bytes += tensor.nbytes
            if _storage(tensor) in self._read:
                self._written[_storage(tensor)] = tensor.nbytes
            else:
                self._made.add(_storage(tensor))
        return result


def count_work(job: Job) -> Work:
    """Count the work of a case by running its model in eager, apart from what is profiled."""
    known = job.case.precision in COUNTED_PRECISIONS
    plain = replace(job, mode=EAGER, operators=None, shipped=None) if known else job.baseline()
    workload = workload_of(plain)
    context = torch.enable_grad if job.case.task == "training" else torch.no_grad
    with context():
        workload.call()  # makes the optimiser's state
        counted = flops_of(workload.call, workload.built.module)
        traffic = TrafficMode()
        with encoders_layer_by_layer(), traffic:
            output = workload.call()
    forward = count_flops(workload.built) if job.case.task == "training" else counted
    compulsory = traffic.external_bytes + sum(tensor.nbytes for tensor in tensors_of(output))
    return Work(
        flops=counted.total,
        flops_fault=counted.fault,
        compulsory_bytes=compulsory if known else None,
        operator_bytes=traffic.operator_bytes if known else None,
        module_flops=forward.by_module,
    )


def _mutated(func: Any, args: Sequence[Any]) -> list[torch.Tensor]:
    """Return the arguments that an operator without a result writes, as ``_foreach_add_`` does."""
    declared = zip(func._schema.arguments, args, strict=False)
    return tensors_of([given for said, given in declared if said.is_write])


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
