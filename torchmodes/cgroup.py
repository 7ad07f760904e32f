"""What control groups (of a container, a systemd unit, a job of a cluster) grant this process."""

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


def cgroup_limits(membership: Path = MEMBERSHIP, root: Path = ROOT) -> Limits:
    """Return the tightest limits of the process' control groups and of all those above them.

    Both versions are read (Linux kernel, ``cgroup-v2.rst``, ``scheduler/sched-bwc.rst`` and
    ``cgroup-v1/memory.rst``). Inside a container the path that the kernel tells may be the host's;
    then the mount itself is our group.
    """
    cores: list[float] = []
    sizes: list[int] = []
    for version, group in _groups(_text(membership), root):
        if version == 2:
            quota, period = (*_words(group / "cpu.max"), "", "")[:2]
            size = _words(group / "memory.max")
        else:
            quota = "".join(_words(group / "cpu.cfs_quota_us"))
            period = "".join(_words(group / "cpu.cfs_period_us"))
            size = _words(group / "memory.limit_in_bytes")
        if quota.isdigit() and period.isdigit():  # not "max", not -1
            cores.append(int(quota) / int(period))
        # Version 1 writes "no limit" as nearly 2**63.
        sizes += [int(word) for word in size if word.isdigit() and int(word) < 2**60]
    return Limits(min(cores, default=None), min(sizes, default=None))


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
    return _text(file).split()


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
