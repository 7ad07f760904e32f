"""Time per module of the forward pass: the table, and hooks for modes that execute modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from torchmodes.profiling.files import LAYER_COLUMNS


@dataclass
class LayerTime:
    """What a module took in all: with its submodules and without; `order` is of its first call."""

    order: int
    calls: int = 0
    total_s: float = 0.0
    self_s: float = 0.0


def layer_table(
    module: nn.Module,
    times: Mapping[str, LayerTime],
    *,
    calls: int,
    flops: Mapping[str, int | None],
) -> pd.DataFrame:
    """Return one row per module that ran, the largest time of its own first.

    Columns: layer (as in ``named_modules``; the model itself is ``(model)``), kind (its class),
    depth (0: the model), order (of its first call), calls, total_s and self_s (without submodules;
    seconds), flops of the forward pass with submodules, parameters with submodules. Calls and times
    are per call of the model, which was called so often; `flops`, by name of the module, are None
    where not all of its operations could be counted.
    """
    rows = [
        (
            name or "(model)",
            type(part).__name__,
            name.count(".") + 1 if name else 0,
            times[name].order,
            times[name].calls / calls,
            times[name].total_s / calls,
            times[name].self_s / calls,
            flops.get(name, 0),
            sum(parameter.numel() for parameter in part.parameters()),
        )
        for name, part in module.named_modules()
        if name in times
    ]
    table = pd.DataFrame(rows, columns=list(LAYER_COLUMNS)).astype({"flops": "Int64"})
    return table.sort_values("self_s", ascending=False, kind="stable", ignore_index=True)


@dataclass
class LayerTimer:
    """Times the modules of a model while it runs; a context.

    It hooks into the calls of all modules, not into the modules: nn.TransformerEncoderLayer takes
    its slow path as soon as it or a part of it has a hook, and scripted modules take none. What a
    module runs as one operator (such a layer's fast path) is that module's own time. Before each
    reading of the clock it waits for the device, so that a module is charged with its own kernels.
    """

    module: nn.Module
    wait: Callable[[], None]
    _times: dict[str, LayerTime] = field(default_factory=dict)
    _open: list[tuple[str, float]] = field(default_factory=list)
    _names: dict[nn.Module, str] = field(default_factory=dict)
    _hooks: list[Any] = field(default_factory=list)

    def __enter__(self) -> LayerTimer:
        self._names = {module: name for name, module in self.module.named_modules()}
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def table(self, *, calls: int, flops: Mapping[str, int | None]) -> pd.DataFrame:
        """Return what `layer_table` does, of so many calls of the model."""
        return layer_table(self.module, self._times, calls=calls, flops=flops)

    def _enter(self, module: nn.Module, *_: Any) -> None:
        name = self._names.get(module)
        if name is not None:
            self._times.setdefault(name, LayerTime(order=len(self._times)))
            self.wait()
            self._open.append((name, time.perf_counter()))

    def _leave(self, module: nn.Module, *_: Any) -> None:
        name = self._names.get(module)
        if name is None:
            return
        self.wait()
        opened, start = self._open.pop()
        assert opened == name
        seconds = time.perf_counter() - start
        taken = self._times[name]
        taken.calls += 1
        taken.total_s += seconds
        taken.self_s += seconds
        if self._open:
            self._times[self._open[-1][0]].self_s -= seconds
