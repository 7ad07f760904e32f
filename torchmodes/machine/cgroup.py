"""Cores and memory that control groups (of a container, a systemd unit, a cluster job) allow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Limits:
    """Cores, of which there may be a fraction, and bytes of memory; None: no limit."""

    cpu_cores: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Quota:
    """Cores that a control group may use, and the processor time that it has used so far."""

    cores: float
    used_s: float


def cgroup_limits(membership: Path = MEMBERSHIP, root: Path = ROOT) -> Limits:
    """Return the tightest limits of the process' control groups and of all those above them.

    Both versions are read (Linux kernel, ``cgroup-v2.rst``, ``scheduler/sched-bwc.rst`` and
    ``cgroup-v1/memory.rst``). Inside a container the path that the kernel tells may be the host's;
    then the mount itself is our group.
    """
    cores: list[float] = []
    sizes: list[int] = []
    for version, group in _groups(text_of(membership), root):
        granted = _cpu_cores(version, group)
        cores += [] if granted is None else [granted]
        size = _words(group / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        # Version 1 writes "no limit" as nearly 2**63.
        sizes += [int(word) for word in size if word.isdigit() and int(word) < 2**60]
    return Limits(min(cores, default=None), min(sizes, default=None))


def cpu_quotas(membership: Path = MEMBERSHIP, root: Path = ROOT) -> dict[str, Quota]:
    """Return the limited control groups of the process, by folder, with what all in them used.

    A group whose usage is not told is left out.
    """
    quotas = {}
    for version, group in _groups(text_of(membership), root):
        cores, used_s = _cpu_cores(version, group), _used_s(version, group)
        if cores is not None and used_s is not None:
            quotas[str(group)] = Quota(cores, used_s)
    return quotas


def _cpu_cores(version: int, group: Path) -> float | None:
    if version == 2:
        quota, period = (*_words(group / "cpu.max"), "", "")[:2]
    else:
        quota = "".join(_words(group / "cpu.cfs_quota_us"))
        period = "".join(_words(group / "cpu.cfs_period_us"))
    limited = quota.isdigit() and period.isdigit()  # not "max", not -1
    return int(quota) / int(period) if limited else None


def _used_s(version: int, group: Path) -> float | None:
    """Return seconds from ``cpu.stat`` (µs), or version 1's ``cpuacct.usage`` (ns), mounted too."""
    if version == 2:
        words = _words(group / "cpu.stat")
        stat = dict(zip(words[::2], words[1::2], strict=False))
        return int(stat["usage_usec"]) * 1e-6 if "usage_usec" in stat else None
    usage = "".join(_words(group / "cpuacct.usage"))
    return int(usage) * 1e-9 if usage.isdigit() else None


def _groups(membership: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of each group, from our own up to the mount."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        version = 1 if controllers else 2
        mounts = [root / name for name in controllers.split(",") if name in ("cpu", "memory")]
        if version == 2:
            mounts = [root, root / "unified"]
        own = PurePosixPath(path).relative_to("/")
        for mount in mounts:
            yield from ((version, mount / group) for group in (own, *own.parents))


def _words(file: Path) -> list[str]:
    return text_of(file).split()


def text_of(file: Path) -> str:
    """Read a file of the kernel's; empty where there is none, or it may not be read."""
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
