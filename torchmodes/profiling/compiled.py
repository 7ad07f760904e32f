"""The kernels that TorchInductor generated for a CPU: each by name, and what it fuses.

PyTorch reports this in two parts while it compiles. A pass over each graph sees which operator and
module a node comes from; a record of Inductor's (``trace.provenance_tracking_to_timeline``) says
which nodes each call computes in the code that it writes. Calls stand there in the order in which
they run: the n-th call of a kernel in a step is the n-th in the record.
"""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict, deque
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import fx
from torch._guards import CompileContext
from torch._inductor.custom_graph_pass import CustomGraphPass

from torchmodes.profiling.chrome import Trace
from torchmodes.profiling.files import FUSED_COLUMNS
from torchmodes.workloads.modes.base import ExecutedOperator, common_module
from torchmodes.workloads.modes.export import module_path

REGION = "Torch-Compiled Region: "
BACKWARD = "CompiledFunctionBackward"
"""How a trace calls what runs compiled code, in front of the number of its compilation."""
GENERATED = "cpp_"
"""How the names of kernels begin that Inductor writes itself."""
_GRAPH = re.compile(r"^graph_\d+_(?=cpp_)")
_EXTERN = re.compile(r"(?:torch\.ops\.)?(\w+)\.(?:bias_)?(\w+)(?:\.\w+)?")
_NO_NAMES = ("L", "self", "_modules")


@dataclass(frozen=True)
class Source:
    """A node of a compiled graph: its operator, and the path of the module that called it."""

    operator: str
    path: str | None


@dataclass(frozen=True)
class Site:
    """A place in generated code that calls a kernel, by the name that a trace gives it.

    `region` is the compiled code that it is part of, as a trace calls that, `backward` whether of
    its backward pass; `sources` are the nodes that the call computes, in the order of the graph.
    """

    kernel: str
    region: str
    backward: bool
    sources: tuple[Source, ...]

    @property
    def operators(self) -> tuple[str, ...]:
        """What the call computes, each operator once."""
        return tuple(dict.fromkeys(source.operator for source in self.sources))

    def layer(self, modules: Collection[str]) -> str | None:
        """Return the innermost module around all that tells one; None where nothing does."""
        paths = [source.path for source in self.sources if source.path is not None]
        return common_module(module_at(path, modules) for path in paths) if paths else None


class NamedKernels(CustomGraphPass):
    """Notes where the nodes of every graph come from that Inductor compiles; it changes none."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[str, Source]] = defaultdict(dict)

    def __call__(self, graph: fx.Graph) -> None:
        """Note the nodes of a graph, by the compilation that it is part of."""
        region = f"{REGION}{CompileContext.current_compile_id()}"
        self._sources[region] |= {
            node.name: Source(_operator(node), module_path(node))
            for node in graph.nodes
            if node.op == "call_function"
        }

    def uuid(self) -> None:
        """Return nothing: code from a cache comes with no graph to look at."""

    def sites(self) -> list[Site]:
        """Return every call in the code that was generated, in order."""
        from torch._inductor.debug import get_kernel_information_jsons

        found = []
        for key, calls in get_kernel_information_jsons().items():
            region, backward = ast.literal_eval(key)
            for call, told in calls.items():
                nodes = set(told["post_grad_nodes"])
                sources = tuple(s for name, s in self._sources[region].items() if name in nodes)
                name = name_in_trace(call.rpartition(":")[0])
                if not name.startswith(GENERATED):
                    sources = sources[-1:]  # an operator of PyTorch; the others made its inputs
                found.append(Site(name, region, backward, sources))
        return found


@contextmanager
def kernels_named() -> Generator[NamedKernels]:
    """Let TorchInductor's CPU kernels tell the profiler their names, and what they are made of.

    It changes the code that is generated, which is neither taken from a cache nor kept in one.
    """
    from torch._inductor import config

    named = NamedKernels()
    settings: dict[str, Any] = {
        "cpp.enable_kernel_profile": True,
        "trace.provenance_tracking_to_timeline": True,
        "post_grad_custom_post_pass": named,
    }
    with config.patch(settings):
        yield named


def _operator(node: fx.Node) -> str:
    """Name the operator of the model that a node computes, as traces do."""
    target = node.meta.get("original_aten") or node.target
    schema = getattr(target, "_schema", None)
    return str(target) if schema is None else schema.name


def name_in_trace(kernel: str) -> str:
    """Return how a trace calls what generated code calls by another name.

    Its own kernels have one name; ``extern_kernels.mm`` is ``aten::mm``, and
    ``torch.ops.mkldnn._linear_pointwise.default`` is ``mkldnn::_linear_pointwise``.
    """
    found = _EXTERN.fullmatch(kernel)
    if found is None:
        return kernel
    return f"{found[1].replace('extern_kernels', 'aten')}::{found[2]}"


def module_at(path: str, modules: Collection[str]) -> str:
    """Return which of the ``named_modules`` a path such as ``L['self'].layers[0]`` leads to.

    TorchDynamo or torch.export tell it. What wraps the model stands in front of it; where nothing
    fits, it is the model as a whole.
    """
    words = [word for word in re.findall(r"\w+", path) if word not in _NO_NAMES]
    names = (".".join(words[start:]) for start in range(len(words)))
    return next((name for name in names if name in modules), "")


def kernels_of_steps(
    trace: Trace, sites: Sequence[Site], modules: Collection[str]
) -> list[tuple[ExecutedOperator, ...]]:
    """Return the kernels that generated code called in each step, in order.

    The trace was recorded under `kernels_named`; modules are the names of ``named_modules``.
    """
    events = trace.of("operator", "annotation", "wrapper")
    events = events[~events["device"]]
    steps = []
    for start, end in trace.steps:
        inside = events[(events["start"] >= start) & (events["start"] < end)]
        steps.append(tuple(_kernels(inside, start, sites, modules)))
    return steps


@dataclass(frozen=True)
class _Open:
    """An event within which others run: when it ends, what its code calls, whether that is it."""

    end: float
    left: dict[str, deque[Site]]
    is_kernel: bool


def _kernels(
    events: pd.DataFrame, begin: float, sites: Sequence[Site], modules: Collection[str]
) -> Iterator[ExecutedOperator]:
    for _, thread in events.groupby("thread", sort=False):
        ordered = thread.sort_values(["start", "end"], ascending=[True, False], kind="stable")
        around = [_Open(math.inf, _calls(sites, f"{REGION}None"), is_kernel=False)]
        times = ordered[["start", "end"]].to_numpy(dtype=float)
        for name, (start, end) in zip(ordered["name"], times, strict=True):
            while around[-1].end <= start:
                around.pop()
            if around[-1].is_kernel:
                continue  # what an operator calls itself is its own
            left = around[-1].left
            if name.startswith((REGION, BACKWARD)):
                left = _calls(sites, name)
            waiting = left.get(_GRAPH.sub("", name))
            site = waiting.popleft() if waiting else None
            around.append(_Open(end, left, is_kernel=site is not None))
            if site is not None:
                yield ExecutedOperator(
                    kind=name,
                    name=site.kernel,
                    start_s=start - begin,
                    seconds=end - start,
                    layer=None if site.backward else site.layer(modules),
                    sources=site.operators,
                )


def _calls(sites: Sequence[Site], name: str) -> dict[str, deque[Site]]:
    """Return the calls of compiled code in order, by kernel; of all backward code together.

    A trace does not tell which backward code runs.
    """
    calls: dict[str, deque[Site]] = defaultdict(deque)
    for site in sites:
        if site.backward if name.startswith(BACKWARD) else site.region == name:
            calls[site.kernel].append(site)
    return calls


def fused_table(steps: Sequence[Sequence[ExecutedOperator]]) -> pd.DataFrame:
    """Return one row per kernel of generated code, the largest time first.

    Columns: kernel; operators, those of the model that it computes; calls and total_s per step.
    """
    kernels: dict[str, list[ExecutedOperator]] = defaultdict(list)
    for call in (call for step in steps for call in step):
        kernels[call.kind].append(call)
    rows = [
        (
            name,
            ", ".join(dict.fromkeys(source for call in calls for source in call.sources)),
            len(calls) / len(steps),
            sum(call.seconds for call in calls) / len(steps),
        )
        for name, calls in kernels.items()
    ]
    table = pd.DataFrame(rows, columns=list(FUSED_COLUMNS))
    return table.sort_values("total_s", ascending=False, kind="stable", ignore_index=True)
