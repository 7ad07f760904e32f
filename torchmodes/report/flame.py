"""The flame graph of a profile's Python stacks, as the page draws it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torchmodes.profiling.stacks import Frame, StacksFile

THINNEST = 0.002
"""Frames with a smaller share of the step are left to the file."""
WIDTH = 1000
_CHARACTER = 6.6
_BETWEEN = ("_wrapped_call_impl", "_call_impl")
"""What stands between a module and its forward, each time."""


@dataclass
class _Node:
    frame: Frame
    seconds: float = 0.0
    below: dict[Frame, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class FlameCell:
    """One frame: its place in units of `WIDTH` and rows, its seconds in a step, its share."""

    frame: Frame
    start: float
    width: float
    level: int
    seconds: float
    share: float

    @property
    def kind(self) -> str:
        """What it is: ``python``, ``module`` or ``operator``."""
        if self.frame.name.startswith("nn.Module: "):
            return "module"
        builtin = self.frame.name.startswith("<")
        return "python" if self.frame.file is not None or builtin else "operator"

    @property
    def label(self) -> str:
        """As much of the name as it has room for."""
        room = int(self.width / _CHARACTER) - 1
        name = self.frame.name.removeprefix("nn.Module: ")
        if room < 3:
            return ""
        return name if len(name) <= room else f"{name[: room - 1]}…"


def flame_cells(stacks: StacksFile) -> list[FlameCell]:
    """Lay the stacks out: a frame as wide as its time, what it calls below it."""
    root = _Node(Frame(name=""))
    for stack, seconds in stacks.stacks():
        node = root
        node.seconds += seconds
        for frame in stack:
            if frame.name not in _BETWEEN:
                node = node.below.setdefault(frame, _Node(frame))
                node.seconds += seconds
    cells: list[FlameCell] = []

    def lay(node: _Node, start: float, level: int) -> None:
        for child in node.below.values():
            share = child.seconds / root.seconds
            if share >= THINNEST:
                width = WIDTH * share
                cells.append(FlameCell(child.frame, start, width, level, child.seconds, share))
                lay(child, start, level + 1)
                start += width

    if root.seconds:
        lay(root, 0.0, 0)
    return cells
