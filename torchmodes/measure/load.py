"""The machine's load: how many cores others kept busy during a measurement, and if that matters.

Two readings of the counters make a `Load`. Nothing here needs PyTorch. docs/measuring.md says which
load is too much, and why.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from torchmodes.machine.cgroup import Quota, cpu_quotas
from torchmodes.processes import processes

STAT = Path("/proc/stat")
LOOK_S = 0.5
"""Length of a look at a machine on which nothing is measured yet: 50 of the counters' ticks."""
LEAST_CROWDING = 0.1
"""Cores. Below it fewer blocks are disturbed on one side than the trimmed mean sets aside."""
LEAST_CROWDING_SHARE = 0.01
"""The same as a share of the cores: large machines have more daemons."""


@dataclass(frozen=True)
class Counters:
    """Processor time so far, in seconds, at one moment on the monotonic clock.

    `own_s` is of a process and all that it started; `busy_s` and `stolen_s` are of all cores that
    it may run on: spent on anything, and taken by the hypervisor. `quotas` are the control groups
    with a limit, by folder.
    """

    at_s: float
    own_s: float
    busy_s: float
    stolen_s: float
    cores: int
    quotas: Mapping[str, Quota]


@dataclass(frozen=True)
class Load:
    """Cores kept busy on average between two readings, the process's own and others.

    `own` is of the process and all that it started. `others`: by everything else, where it is
    tightest: on the cores that the process may run on, or within the processor time that its
    control group is granted; `cores` are all that there are there. `stolen`: by the hypervisor, for
    other machines or beyond what this one was given.
    """

    own: float
    others: float
    stolen: float
    cores: float

    @property
    def limit(self) -> float:
        """What may be missing before samples say more about the others than about the model."""
        return max(LEAST_CROWDING, LEAST_CROWDING_SHARE * self.cores)

    @property
    def noticeable(self) -> bool:
        """Whether there is other load worth telling, even where there is room for it."""
        return self.others + self.stolen > self.limit

    def missing(self, threads: int) -> float:
        """Return the cores that a process lacked: what others took of those it had use for.

        One that used more than the threads it was told had use for them. Others take what the
        process leaves idle first; the hypervisor takes from cores in use.
        """
        wanted = min(self.cores, max(threads, math.ceil(self.own - LEAST_CROWDING)))
        return max(0.0, wanted + self.others - self.cores) + self.stolen

    def crowded(self, threads: int) -> bool:
        """Tell whether that is more than the statistics withstand."""
        return self.missing(threads) > self.limit

    def __str__(self) -> str:
        seen = []
        neither = max(self.others, self.stolen) <= self.limit  # but perhaps both together
        if self.others > self.limit or neither:
            seen.append(f"other programs kept {_cores(self.others)} of {self.cores:g} cores busy")
        if self.stolen > self.limit or (neither and self.noticeable):
            seen.append(f"the hypervisor took {_cores(self.stolen)} of {self.cores:g} cores away")
        return " and ".join(seen)


def _cores(count: float) -> str:
    """Write a number of cores so that a few hundredths are not none."""
    return f"{count:.1f}" if count >= 0.1 else f"{count:.2f}"


def read_counters(pid: int | None = None) -> Counters:
    """Read the counters of a process (by default this one) and of the cores that it may run on."""
    pid = os.getpid() if pid is None else pid
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = affinity(pid) if affinity else range(psutil.cpu_count() or 1)
    busy_s, stolen_s = (
        parse_stat(STAT.read_text(encoding="ascii"), cpus, ticks_per_s=os.sysconf("SC_CLK_TCK"))
        if STAT.exists()
        else _machine_times()
    )
    return Counters(
        at_s=time.monotonic(),
        own_s=family_seconds(pid),
        busy_s=busy_s,
        stolen_s=stolen_s,
        cores=len(cpus),
        quotas=cpu_quotas(),
    )


def load_between(before: Counters, after: Counters) -> Load:
    """Return the load between two readings of the same process.

    A process of another container is seen on shared cores only, and one within the container's
    quota on any core; whichever leaves less room counts.
    """
    seconds = max(after.at_s - before.at_s, 1e-3)
    own_s = after.own_s - before.own_s
    rooms = [(after.busy_s - before.busy_s, float(after.cores))]
    rooms += [
        (quota.used_s - before.quotas[name].used_s, quota.cores)
        for name, quota in after.quotas.items()
        if name in before.quotas
    ]
    others, cores = max(
        ((max(0.0, used_s - own_s) / seconds, cores) for used_s, cores in rooms),
        key=lambda room: room[0] - room[1],
    )
    return Load(
        own=max(0.0, own_s) / seconds,
        others=others,
        stolen=max(0.0, after.stolen_s - before.stolen_s) / seconds,
        cores=cores,
    )


def look(pid: int, *, seconds: float = LOOK_S) -> Load:
    """Watch the machine for a moment; a process and all that it started are not other load."""
    before = read_counters(pid)
    time.sleep(seconds)
    return load_between(before, read_counters(pid))


def parse_stat(text: str, cpus: Collection[int], *, ticks_per_s: int) -> tuple[float, float]:
    """Return busy and stolen seconds of some cores from ``/proc/stat`` (proc(5)).

    Time of guests is part of ``user`` and ``nice`` there, and waiting for a disk is idle. Where a
    container numbers its cores anew (lxcfs), the file holds just them, and all are taken.
    """
    lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
    named = {name: [int(value) for value in values] for name, *values in lines}
    mine = [f"cpu{cpu}" for cpu in cpus]
    chosen = [named[name] for name in mine if name in named]
    if len(chosen) < len(mine):
        chosen = [named["cpu"]]
    busy = stolen = 0
    for user, nice, system, _idle, _iowait, irq, softirq, steal, *_guests in chosen:
        busy += user + nice + system + irq + softirq
        stolen += steal
    return busy / ticks_per_s, stolen / ticks_per_s


def family_seconds(pid: int) -> float:
    """Return the processor time of a process and of all that it started, ended children included.

    That of a child moves from its own account to its parent's when the parent has waited for it.
    """
    total = 0.0
    for member in (pid, *processes.descendants(pid)):
        try:
            total += sum(psutil.Process(member).cpu_times()[:4])
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended, or is not ours
            continue
    return total


def _machine_times() -> tuple[float, float]:
    """Return busy and stolen seconds of all cores where there is no ``/proc/stat``."""
    times = psutil.cpu_times()
    return times.user + times.system + getattr(times, "nice", 0.0), 0.0
