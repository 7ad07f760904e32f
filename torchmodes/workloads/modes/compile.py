"""torch.compile, with any backend that is installed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sysconfig
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.faults import nearest
from torchmodes.config.modes import CompileMode
from torchmodes.planning.cases import Case
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.modes import base
from torchmodes.workloads.modes.export import capture
from torchmodes.workloads.modes.torchscript import calling, trace
from torchmodes.workloads.structures import Inputs

REMEDIES = {
    "openvino": "pip install openvino",
    "openxla": "install torch_xla",
    "tensorrt": "use the engine tensorrt with frontend: torch_compile",
    "tvm": "pip install apache-tvm",
}
"""How to get the backends that come with other packages."""
PROBED = 10
"""Calls that are looked at after a recompile limit was reached."""
LIMIT = "Dynamo recompile limit exceeded"
"""How PyTorch's counters call it."""
REASONS_KEPT = 5
"""A guard that fails at every call fails with another value each time."""
LISTED_ANYWAY = {"openxla": "torch_xla", "tvm": "tvm"}
"""Backends that PyTorch lists whether or not their package, named here, is installed."""
MODES_OF_GRAPHS = ("reduce-overhead", "max-autotune")
"""Those that record CUDA graphs, where there is CUDA."""


class CompileEngine(base.Engine):
    """Compiles the model, or in training the whole optimiser step (``scope: step``)."""

    options: CompileMode
    compiled: Callable[..., Any]
    example: Inputs
    backend: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attempts: list[dict[str, str | None]] = []
        self._probed_in: Callable[[], AbstractContextManager[Any]] = self.context

    @property
    def one_shape(self) -> bool:
        """Whether what is compiled was captured with the example's shapes."""
        return self.options.after is not None

    def supports(self, case: Case, *, family: str) -> base.Unsupported | None:
        """Refuse what PyTorch would skip silently or cannot build."""
        if refusal := base.inference_only(case, self.options, "freezing", "after", "fallback"):
            return refusal
        own_state = case.task == "generation" and family == "user"
        if own_state and case.device == "cuda" and self.options.mode in MODES_OF_GRAPHS:
            return base.Unsupported(
                "CUDA graphs write the same memory at each step, and a state of the model's own is"
                " kept from an earlier one",
                "use mode: default",
            )
        refusals = [
            self._refusal(name, device=case.device, task=case.task)
            for name in self.options.backends()
        ]
        # A chain is there to get past a backend that cannot.
        return refusals[0] if all(refusals) else None

    def _settings(self, backend: str) -> tuple[str, bool]:
        """Return the mode of a backend and whether it freezes: a fallback does as by default."""
        if backend == self.options.backend:
            return self.options.mode, self.options.freezing
        return "default", False

    def _refusal(
        self, backend: str, *, device: str, task: str = "inference"
    ) -> base.Unsupported | None:
        mode, freezing = self._settings(backend)
        if refusal := _unknown_backend(backend):
            return refusal
        if mode != "default" and backend != "inductor":
            return base.Unsupported(
                f"mode {mode!r} belongs to the backend inductor, not {backend}", "use mode: default"
            )
        if freezing and backend != "inductor":
            return base.Unsupported(
                f"freezing belongs to the backend inductor, not {backend}", "use freezing: false"
            )
        graphs = backend == "cudagraphs" or mode == "reduce-overhead"
        if graphs and task == "generation" and not self.options.has_static_cache():
            return base.Unsupported(
                "CUDA graphs write the same memory at each step, and a dynamic cache grows",
                "use cache: static",
            )
        if graphs and device != "cuda":
            return base.Unsupported(
                f"CUDA graphs do not exist on {device}: PyTorch skips them silently",
                "run the case on cuda, or use backend: inductor with mode: default",
            )
        if backend == "inductor":
            return missing_compiler(device)
        return None

    def refuse_inputs(self, inputs: Inputs) -> None:
        """Refuse to trace what torch.jit.trace cannot copy."""
        if self.options.after == "trace":
            self.refuse((tensor.layout for tensor in inputs.tensors()), "trace", {torch.strided})

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Wrap the module; it is compiled at the first call, or here if there is a fallback."""
        self.example, function = inputs, module
        if self.options.after == "trace":
            function = calling(*trace(module, inputs), inputs)
        elif self.options.after == "export":
            function = capture(module, inputs, self.batches).module()
        if self.options.fallback:
            self.compiled = self._first_that_works(function)
        else:
            self.compiled = self._compile(function, self.options.backend)
        return self.compiled

    def prepare_step(
        self,
        module: nn.Module,
        batch: tuple[Any, Any],
        make_step: Callable[[Callable[..., Any]], base.Step],
    ) -> base.Step:
        """Compile the module inside the step, or the step as a whole."""
        self._probed_in = torch.enable_grad
        if self.options.scope == "model":
            return super().prepare_step(module, batch, make_step)
        self.example = Inputs(batch)
        self.compiled = self._compile(make_step(module), self.options.backend)
        return self.compiled

    def _compile(self, function: Callable[..., Any], backend: str) -> Callable[..., Any]:
        self.source, self.backend = function, backend
        torch._dynamo.utils.clear_compilation_metrics()  # capturing before this was not it
        mode, freezing = self._settings(backend)
        if freezing:
            # Not by torch.compile(options=…): TorchDynamo reads the setting before they apply.
            torch._inductor.config.freezing = True
        return torch.compile(
            function,
            backend=backend,
            mode=None if mode == "default" else mode,
            dynamic=self.options.dynamic,
            fullgraph=self.options.fullgraph,
        )

    def _first_that_works(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile and call with one backend after another until none of it fails."""
        device = self.example.tensors()[0].device.type
        for backend in self.options.backends():
            if refusal := self._refusal(backend, device=device):
                self.attempts.append({"backend": backend, "failed": refusal.reason})
                continue
            _forget()
            compiled = self._compile(function, backend)
            try:
                with self.context():
                    self.example.call(compiled)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next one is tried
                self.attempts.append({"backend": backend, "failed": reason_of(error)})
                continue
            self.attempts.append({"backend": backend, "failed": None})
            return compiled
        told = "; ".join(f"{tried['backend']}: {tried['failed']}" for tried in self.attempts)
        raise RuntimeError(f"no backend of the fallback chain works ({told})")

    def stats(self) -> dict[str, Any]:
        """Read Dynamo's counters: graphs, breaks and what it gave up with reasons, recompiles.

        Where the recompile limit was reached, some more calls show what is still compiled.
        """
        counters = torch._dynamo.utils.counters
        breaks = torch._dynamo.utils.graph_break_reasons
        compiles = torch._dynamo.convert_frame.FRAME_COMPILE_COUNTER
        stats: dict[str, Any] = {
            "graphs": counters["stats"]["unique_graphs"],
            # Not counters["graph_break"]: that one misses branches that depend on data.
            "graph_breaks": dict(Counter(_in_short(found.reason) for found in breaks)),
            "recompiles": sum(count - 1 for count in compiles.values()) - _refused(),
            "cudagraph_skips": counters["inductor"]["cudagraph_skips"],
        }
        if skipped := frames_skipped():
            stats["frames_skipped"] = skipped
        if reasons := recompile_reasons():
            stats["recompile_reasons"] = reasons
        if self.attempts:
            stats |= {"fallback": self.attempts, "ended_on": self.backend}
        if limit := recompile_limit_reached():
            stats |= self._after(limit)
        if nothing := self._nothing_done(stats):
            stats["no_effect"] = nothing
        return stats

    def _after(self, limit: str) -> dict[str, Any]:
        """Tell how many calls compiled code still serves now that a limit was reached."""
        batches = itertools.cycle(self.batches or [self.example])
        with self._probed_in():
            calls = [partial(next(batches).call, self.compiled) for _ in range(PROBED)]
            ran = sum(map(runs_compiled, calls))
        stats: dict[str, Any] = {"compiled_calls": {"ran": ran, "of": PROBED}}
        if not ran:
            return stats | {"no_effect": f"{limit}: from then on eager code ran"}
        part = f"compiled code took part in {ran} of {PROBED} calls"
        return stats | {
            "warnings": [f"{limit}: what fits no compiled version ran in eager; {part}"]
        }

    def _nothing_done(self, stats: dict[str, Any]) -> str | None:
        """Say how what was asked for came to nothing, or return None."""
        if stats["graphs"] == 0:
            because = "; ".join(stats.get("frames_skipped", {}))
            told = "torch.compile captured no graph: eager code ran"
            return f"{told} ({because})" if because else told
        if self.attempts and self.backend == "eager":
            return "the fallback chain ended on eager: its kernels are eager's"
        replayed = self.backend == "cudagraphs" or self.options.mode == "reduce-overhead"
        if replayed and stats["cudagraph_skips"] >= stats["graphs"]:
            return "every CUDA graph was skipped: the kernels were launched one by one"
        if self.backend == "openvino":
            from torch._inductor import metrics

            if metrics.generated_kernel_count:
                return "OpenVINO failed, and its backend silently ran TorchInductor instead"
        return stats.get("no_effect")

    def export(self, directory: Path) -> list[str]:
        """Write the counters, and the graphs and breaks that ``torch._dynamo.explain`` finds.

        Explaining runs the function once more, in eager: a compiled step takes an optimiser step.
        """
        (directory / "counters.json").write_text(json.dumps(self.stats(), indent=1))
        explained = self.example.call(torch._dynamo.explain(self.source))
        graphs = [graph.print_readable(print_output=False) for graph in explained.graphs]
        (directory / "graph.txt").write_text("\n\n".join(graphs), encoding="utf-8")
        (directory / "graph_breaks.txt").write_text(str(explained), encoding="utf-8")
        return ["counters.json", "graph.txt", "graph_breaks.txt"]


def _in_short(reason: str) -> str:
    """Give what a graph break is and its explanation, without hints and addresses."""
    if reason.startswith("generic_jump"):
        return f"branch that depends on the data of a tensor ({reason})"
    what, *more = (line.strip() for line in reason.splitlines())
    explanation = [line.removeprefix("Explanation: ") for line in more[:1]]
    return ": ".join([what, *explanation])


def frames_skipped() -> dict[str, int]:
    """Count the frames that Dynamo gave up as a whole, by its reason: eager runs them.

    These are no graph breaks: after one of those Dynamo goes on.
    """
    metrics = torch._dynamo.utils.get_compilation_metrics()
    told = [found.fail_reason for found in metrics if found.fail_reason]
    return dict(Counter(_in_short(reason) for reason in told if not reason.startswith(LIMIT)))


def recompile_reasons() -> list[str]:
    """Return the guards that failed, each once, the last ones first, with the code they guard."""
    metrics = torch._dynamo.utils.get_compilation_metrics()
    told = [_guard_in_short(found.recompile_reason) for found in metrics if found.recompile_reason]
    return list(dict.fromkeys(reversed(told)))[:REASONS_KEPT]


def _guard_in_short(reason: str) -> str:
    """Give the guard and the code that it guards, without the number of the compilation."""
    first = reason.strip().splitlines()[0].partition(": ")[2] or reason
    return "  # ".join(part.strip() for part in first.split("# ")).partition(" (HINT")[0]


def recompile_limit_reached() -> str | None:
    """Say which limit Dynamo reached and the guard that failed then, or return None.

    What is not compiled then runs in eager; PyTorch tells it in its log alone.
    """
    told = [t for t in torch._dynamo.utils.counters["unimplemented"] if t.startswith(LIMIT)]
    if not told:
        return None
    accumulated = "accumulated_recompile_limit" in told[0]
    name = "accumulated_recompile_limit" if accumulated else "recompile_limit"
    limit = f"{name} ({getattr(torch._dynamo.config, name)}) was reached"
    for found in torch._dynamo.utils.get_compilation_metrics():
        if (found.fail_reason or "").startswith(LIMIT) and found.recompile_reason:
            return f"{limit}, for {_guard_in_short(found.recompile_reason)}"
    return limit


def _refused() -> int:
    """Count the compilations that were begun and given up at a limit."""
    told = torch._dynamo.utils.counters["unimplemented"]
    return sum(count for reason, count in told.items() if reason.startswith(LIMIT))


def runs_compiled(call: Callable[[], Any]) -> bool:
    """Make a call and say whether code that Dynamo compiled took part in it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return any(event.name.startswith("Torch-Compiled Region") for event in profile.events())


def _forget() -> None:
    """Forget what was compiled and counted so far."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch._dynamo.utils.graph_break_reasons.clear()


def _unknown_backend(name: str) -> base.Unsupported | None:
    known = set(torch._dynamo.list_backends(exclude_tags=()))
    known -= {name for name, package in LISTED_ANYWAY.items() if find_spec(package) is None}
    if name in known:
        return None
    close = nearest(name, known)
    hint = "" if close is None else f"; did you mean {close!r}?"
    common = ", ".join(sorted(known & set(torch._dynamo.list_backends())))
    return base.Unsupported(
        f"torch.compile has no backend {name!r} here",
        REMEDIES.get(name, f"use one of {common}, or install the package that has it{hint}"),
    )


def missing_compiler(device: str) -> base.Unsupported | None:
    """Inductor writes C++ for a CPU; for CUDA Triton compiles the C code that launches kernels."""
    if device != "cuda":
        return None if device == "mps" else missing_cpp_compiler()
    if not any(map(shutil.which, [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"])):
        return base.Unsupported(
            "Triton, which TorchInductor uses on CUDA, found no C compiler",
            "install one (Debian: apt-get install gcc) or set CC",
        )
    if not Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h").is_file():
        return base.Unsupported(
            "Triton, which TorchInductor uses on CUDA, needs Python's headers",
            "install them (Debian: apt-get install python3-dev)",
        )
    return None


def missing_cpp_compiler() -> base.Unsupported | None:
    """Say that there is no C++ compiler for what TorchInductor writes."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return base.Unsupported(
            "TorchInductor found no C++ compiler",
            "install one (Debian: apt-get install g++; macOS: xcode-select --install) or set CXX",
        )
    return None
