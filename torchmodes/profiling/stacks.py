"""The Python stacks of a trace, merged, in the file format of speedscope.

The format is a *sampled* profile of https://www.speedscope.app/file-format-schema.json: each stack
stands once, weighted by its own seconds in a step. The trace tells in which order they ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

import pandas as pd
from pydantic import BaseModel, Field, model_validator

from torchmodes.profiling.chrome import STEP, Trace, short_name

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_FRAMES = ("python", "annotation", "wrapper", "operator", "communication", "data_loading")
_PYTHON = re.compile(r"(?P<file>.+)\((?P<line>\d+)\): (?P<name>.+)")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Frame(BaseModel, frozen=True):
    """A Python function by file and line; or a module, a built-in function, an operator."""

    name: str
    file: str | None = None
    line: int | None = None


class SharedFrames(BaseModel):
    """The frames that samples name by their places."""

    frames: list[Frame] = []


class SampledStacks(BaseModel):
    """Stacks, the outermost frame first, and the seconds of a step that each has of its own."""

    type: str = "sampled"
    name: str = "one step"
    unit: str = "seconds"
    startValue: float = 0.0  # noqa: N815 - as speedscope names it
    endValue: float = 0.0  # noqa: N815
    samples: list[list[int]] = []
    weights: list[float] = []


class StacksFile(BaseModel):
    """``stacks.speedscope.json``; without a profile where there are no stacks."""

    schema_: str = Field(SCHEMA, alias="$schema")
    shared: SharedFrames = SharedFrames()
    profiles: list[SampledStacks] = []

    def text(self) -> str:
        """Return it as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True) + "\n"

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        frames = range(len(self.shared.frames))
        for profile in self.profiles:
            if len(profile.samples) != len(profile.weights):
                raise ValueError("a profile has not as many weights as samples")
            if any(place not in frames for sample in profile.samples for place in sample):
                raise ValueError("a sample names a frame that is not there")
        return self

    def stacks(self) -> Iterator[tuple[list[Frame], float]]:
        """Yield each stack, the outermost frame first, and its own seconds."""
        for profile in self.profiles:
            for sample, seconds in zip(profile.samples, profile.weights, strict=True):
                yield [self.shared.frames[place] for place in sample], seconds


def stacks_of(trace: Trace) -> StacksFile:
    """Merge the stacks of a trace's steps; on the thread on which Python runs the longest."""
    events = trace.in_steps(trace.of(*_FRAMES))
    events = events[~events["name"].str.fullmatch(STEP)]
    python = events[events["kind"] == "python"]
    if python.empty:
        return StacksFile()
    lengths = (python["end"] - python["start"]).groupby(python["thread"]).sum()
    events = events[events["thread"] == lengths.idxmax()]
    places: dict[Frame, int] = {}
    own: dict[tuple[int, ...], float] = {}
    for stack, start, end in open_stacks(events):
        sample = tuple(places.setdefault(_frame(name), len(places)) for name in stack)
        own[sample] = own.get(sample, 0.0) + (end - start) / len(trace.steps)
    merged = SampledStacks(
        samples=[list(sample) for sample in own],
        weights=list(own.values()),
        endValue=sum(own.values()),
    )
    return StacksFile(shared=SharedFrames(frames=list(places)), profiles=[merged])


def open_stacks(events: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yield the names that are open, the outermost first, from when until when (seconds).

    The events are of one thread. Where one outlasts what it began in, the shorter piece is cut off:
    its own end, or, of operators drawn one behind the other, the end of the one before.
    """
    ordered = events.sort_values(["start", "end"], ascending=[True, False], kind="stable")
    stack: list[tuple[str, float]] = []
    now = 0.0

    def until(moment: float) -> Iterator[tuple[tuple[str, ...], float, float]]:
        nonlocal now
        while stack and now < moment:
            end = min(moment, stack[-1][1])
            if end > now:
                yield tuple(name for name, _ in stack), now, end
            now = max(now, end)
            if stack[-1][1] <= now:
                stack.pop()
        now = max(now, moment)

    for name, start, end in zip(ordered["name"], ordered["start"], ordered["end"], strict=True):
        yield from until(start)
        while stack and stack[-1][1] - start < end - stack[-1][1]:
            stack.pop()
        stack.append((name, min(end, stack[-1][1]) if stack else end))
    if stack:
        yield from until(stack[0][1])


def _frame(name: str) -> Frame:
    told = _PYTHON.fullmatch(name)
    if told is None:
        return Frame(name=_ADDRESS.sub("", short_name(name)))
    return Frame(name=told["name"], file=told["file"], line=int(told["line"]))
