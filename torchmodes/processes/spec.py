"""What a client asks of a monitor, and what the monitor answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CASE_VARIABLE = "TORCHMODES_CASE"
"""Marks a case's processes: its folder."""

Cause = Literal["exited", "time", "start", "memory", "gone"]


@dataclass(frozen=True)
class ProcessSpec:
    """The process to start and its limits; `folder` holds the target and its argument (`child`).

    `log` takes what it prints. Without the process `workflow` it is no use.
    """

    folder: str
    log: str
    start: Literal["fork", "fresh"]
    start_limit_s: float
    time_limit_s: float
    memory_limit_bytes: int | None
    environment: dict[str, str]
    sys_path: list[str]
    cwd: str
    affinity: list[int] | None
    workflow: int


@dataclass(frozen=True)
class Ending:
    """How a case's process ended, as its monitor saw it; times on the monotonic clock.

    It ``exited`` by itself, or was ended by the monitor: at the ``time`` limit, the ``start`` limit
    (it was still importing), the ``memory`` limit, or for somebody ``gone`` (the detail) without
    whom it is no use. `status` is as from ``wait``; `peak_children_bytes` the largest high-water
    mark seen among the processes that it started, `resident_bytes` of them all at the last look;
    the survivors are those that not even SIGKILL ended.
    """

    cause: Cause
    detail: str | None
    status: int | None
    ended_at: float
    peak_children_bytes: int = 0
    resident_bytes: int = 0
    survivors: tuple[int, ...] = ()
    oom_killed: bool = False
