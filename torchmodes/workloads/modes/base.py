"""What an engine is: it says whether it can, prepares a module, and tells what it did."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.modes import ModeSection
from torchmodes.planning.cases import Case
from torchmodes.results.reading import Result, read_json
from torchmodes.results.reasons import reason_of
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.structures import Inputs, Structure

Step = Callable[[Any, Any], torch.Tensor]
"""One optimiser step: inputs and targets of a batch in, the loss out."""
CALIBRATION = 1 << 20
"""Where the numbers of the inputs begin on which a mode is calibrated.

Those on which it is judged are small numbers: see `torchmodes.measure.input_sets`.
"""
MADE = "made.json"
"""Lies beside what an engine shipped; a folder without it holds nothing to load."""
ONE_SHAPE = "give all batches one shape (padding: max), or use another mode"
"""What to do where an engine runs no other shape than the one that it was prepared for."""


@dataclass(frozen=True)
class Unsupported:
    """Why a case cannot run here, and what the user can do about it."""

    reason: str
    remedy: str


class Made(Result):
    """What is known of what was made, for whoever loads it.

    Attributes
    ----------
    facts
        Of making it.
    returned
        How the module's output is made of the tensors that it returns, as of `Structure.to_json`;
        None: they are it.
    """

    facts: dict[str, Any]
    returned: dict[str, Any] | None


class Refused(Exception):
    """Raised before anything runs, where the inputs show that the engine cannot take them."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.unsupported = Unsupported(reason, remedy)


@dataclass(frozen=True)
class ExecutedOperator:
    """One operator of one call, as an engine's own profiler tells it.

    Attributes
    ----------
    kind
        What it computes, with the engine's name before it: ``onnxruntime::Conv``.
    name
        Of its node in the engine's graph.
    start_s, seconds
        From the start of the call, and its duration.
    layer
        The module that it comes from, as in ``named_modules``; None where it does not tell.
    sources
        The operators of the model that it computes; empty where it does not tell.
    """

    kind: str
    name: str
    start_s: float
    seconds: float
    layer: str | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExecutedCall:
    """One call under an engine's own profiler; it began in nanoseconds since 1970."""

    began_ns: int
    operators: tuple[ExecutedOperator, ...]


@dataclass(frozen=True)
class OwnProfiler:
    """What an engine prepared, once more and under the engine's own profiler.

    Attributes
    ----------
    name
        Of the engine, for the trace.
    function
        Called as what `Engine.prepare` returned.
    finish
        Ends recording; returns every call that was made, in order.
    """

    name: str
    function: Callable[..., Any]
    finish: Callable[[], list[ExecutedCall]]


def common_module(names: Iterable[str]) -> str:
    """Return the name of the innermost module around all of some; the model itself has none."""
    words = [name.split(".") if name else [] for name in names]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*words, strict=False))
    return ".".join(level[0] for level in shared)


def not_installed(*packages: str) -> Unsupported | None:
    """Refuse where packages are missing, which pip calls by the names that Python imports."""
    if missing := [package for package in packages if find_spec(package) is None]:
        told = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return Unsupported(told, f"pip install {' '.join(missing)}")
    return None


def inference_only(case: Case, options: ModeSection, *names: str) -> Unsupported | None:
    """Refuse a training case whose mode sets one of the named options."""
    if case.task == "training" and (named := [name for name in names if getattr(options, name)]):
        return Unsupported(
            f"{named[0]} is for inference", f"train in a mode that does not set {named[0]}"
        )
    return None


class Engine:
    """A way of executing a module; an engine changes what differs from calling the module.

    One engine serves one case in one process: what it did (graphs, breaks) is read from
    process-wide counters.

    Parameters
    ----------
    options
        The mode's section of the configuration.
    operators
        The shared library of the custom operators, where the mode uses them.
    precision
        Of the case. The module comes in it, unless the engine `lowers_precision` itself.
    """

    calls_modules = False
    """Whether its code calls the model's own modules; else hooks on them would change what runs."""

    precisions: frozenset[str] = frozenset({"fp32", "tf32", "bf16", "fp16"})
    """Number formats that the engine can be asked for."""

    takes: frozenset[torch.dtype] | None = None
    """Types of the tensors that it can be given; None: of every type."""

    batches: tuple[Inputs, ...] = ()
    """All that it will be called with, set before `prepare`: of a schedule, several."""

    own_threads = False
    """Whether it computes with threads that are not PyTorch's, or may do so."""

    one_shape = False
    """Whether what it prepares is called with inputs of the example's shapes alone."""

    def __init__(
        self, options: ModeSection, *, operators: Path | None = None, precision: str = "fp32"
    ) -> None:
        self.options = options
        self.operators = operators
        self.precision = precision
        self.draw: Callable[[int], Inputs] | None = None  # other inputs of the model, by number
        self.shipped: Path | None = None  # a folder of `ship`, from which it is to be loaded
        self.made: dict[str, Any] = {}  # facts for `stats` that stay true of what is loaded
        self.returned: Structure | None = None

    @property
    def lowers_precision(self) -> bool:
        """Whether module and inputs come in fp32 and the engine lowers them itself."""
        return False

    def context(self) -> AbstractContextManager[Any]:
        """Return a new context in which an inference case calls what `prepare` returned."""
        return torch.inference_mode()

    @cached_property
    def directory(self) -> Path:
        """A private folder for what the engine writes; it goes with the engine."""
        self._temporary = tempfile.TemporaryDirectory(prefix="torchmodes-")
        return Path(self._temporary.name)

    def supports(self, case: Case, *, family: str) -> Unsupported | None:
        """Say before any work why the case cannot run, or None when nothing is known against it."""
        return None

    def refuse_inputs(self, inputs: Inputs) -> None:
        """Refuse inputs before the model is touched.

        Raises
        ------
        Refused
            When a tensor is of no type that the engine `takes`.
        """
        if self.takes is not None:
            tensors = inputs.tensors()
            kinds = [t.dtype if t.layout == torch.strided else t.layout for t in tensors]
            self.refuse(kinds, "take", self.takes)

    def refuse(
        self,
        kinds: Iterable[torch.dtype | torch.layout],
        does_not: str,
        known: Collection[torch.dtype | torch.layout],
    ) -> None:
        """Raise `Refused` where there are types that the engine does not take or return."""
        if unknown := sorted({str(kind) for kind in kinds if kind not in known}):
            raise Refused(
                f"the engine {self.options.engine} does not {does_not} tensors of"
                f" {' or '.join(unknown)}",
                "convert them in the model, or use another mode",
            )

    def calibration_inputs(self, example: Inputs, batches: int) -> list[Inputs]:
        """Return so many inputs to calibrate on: none that judge the mode, if the model has others.

        The example, which the mode is prepared with and judged on too, is returned alone where what
        is drawn has other shapes, or the same values every time.
        """
        drawn = [] if self.draw is None else [self.draw(CALIBRATION + i) for i in range(batches)]
        if any(not example.is_like(other) or example.equals(other) for other in drawn):
            drawn = []
        if drawn:
            self.made["calibration_batches"] = len(drawn)
        else:
            told = "calibrated on the example inputs, which judge it too: the model has no others"
            self.made["warnings"] = [told]
        return drawn or [example]

    def load_or_prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Return what is called in the module's place: loaded where it was shipped, else prepared.

        Raises
        ------
        RuntimeError
            When what was shipped cannot be loaded: a deployment could not start either, and a start
            that builds anew is not the one that is measured.
        """
        folder = self.shipped
        if folder is None or not (folder / MADE).exists():
            return self.prepare(module, inputs)
        try:
            made = read_json(folder / MADE, Made)
            self.made = made.facts
            if made.returned is not None:
                self.returned = Structure.of_json(made.returned)
            return self.load(folder, inputs)
        except Exception as error:
            raise RuntimeError(
                f"what the first run shipped cannot be loaded ({reason_of(error)}): delete {folder}"
                " and run snakemake again"
            ) from error

    def prepare(self, module: nn.Module, inputs: Inputs) -> Callable[..., Any]:
        """Return what is called in the module's place.

        The module is in the mode (training or evaluation), precision and device of the case; the
        engine owns it and may change it. The inputs are an example.
        """
        return module

    def prepare_step(
        self,
        module: nn.Module,
        batch: tuple[Any, Any],
        make_step: Callable[[Callable[..., Any]], Step],
    ) -> Step:
        """Return one optimiser step that executes the module this engine's way.

        Parameters
        ----------
        module
            In training mode; its parameters are those the optimiser holds.
        batch
            Example inputs and targets; lists of both where gradients accumulate.
        make_step
            Builds the step around whatever is called in the module's place.
        """
        inputs = batch[0][0] if isinstance(batch[0], list) else batch[0]
        return make_step(self.prepare(module, Inputs.of(inputs)))

    def replaced(self, other: nn.Module) -> list[str]:
        """Name what it replaced of the code that another module of the same classes runs."""
        return []

    def stats(self) -> dict[str, Any]:
        """Tell what was done, after it ran, as JSON values.

        ``no_effect`` says, where it was nothing, how that came about; ``warnings`` are reasons to
        trust the figures less.
        """
        return {}

    def own_profiler(self) -> OwnProfiler | None:
        """Open what was prepared once more, under the engine's own profiler.

        None where torch.profiler sees the operators itself, as it does those of PyTorch.
        """
        return None

    def ship(self, folder: Path) -> list[Path]:
        """Write what a deployment takes with it into an empty folder; return the files it needs.

        There are none where the mode needs the model's class, as eager does. What `load_or_prepare`
        reads beside them is no part of what is returned.
        """
        files = self.save(folder)
        if not files:
            return []
        try:
            returned = None if self.returned is None else self.returned.to_json()
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            told = f"other runs prepare it anew: its output has no form in a file ({error})"
            self.made["warnings"] = [*self.made.get("warnings", []), told]
            return files
        made = Made(facts=self.made, returned=returned)
        write_atomically(folder / MADE, made.model_dump_json())
        return files

    def save(self, folder: Path) -> list[Path]:
        """Write for `ship` what `load` reads; return the files that a deployment needs."""
        return []

    def load(self, folder: Path, inputs: Inputs) -> Callable[..., Any]:
        """Return what `prepare` returned in the process that wrote the folder, without the module.

        What that process knew is in `made` and `returned` again.
        """
        raise NotImplementedError

    def export(self, directory: Path) -> list[str]:
        """Write what makes the mode worth a look into a directory; return the files' names."""
        return []
