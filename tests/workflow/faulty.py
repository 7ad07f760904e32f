"""Modes that go wrong, each in its own way; and one that does not."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

Call = Callable[[torch.Tensor], torch.Tensor]


def raises(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    def call(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this mode always raises")

    return call


def segfaults(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    def call(x: torch.Tensor) -> torch.Tensor:
        ctypes.string_at(0)
        return x

    return call


def is_killed(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    def call(x: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x

    return call


def hangs(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    def call(x: torch.Tensor) -> torch.Tensor:
        Path(__file__).with_name("hanging").touch()
        time.sleep(3600)
        return x

    return call


def hoards(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    hoard = []

    def call(x: torch.Tensor) -> torch.Tensor:
        while True:
            hoard.append(torch.ones(4_000_000))

    return call


def returns_nan(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    return lambda x: model(x) * float("nan")


def returns_another_shape(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    return lambda x: model(x)[:-1]


def is_one_percent_off(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    return lambda x: model(x) * 1.01


def is_right(model: nn.Module, example: tuple[torch.Tensor, ...]) -> Call:
    return lambda x: model(x)
