"""Build every configured model and run it once, so that faults show before hours of measuring.

One that the configuration trains takes an optimiser step as well, one that generates a token.

make check                                      every model of config.yaml
make check ARGS='--configfile mine.yaml'        on top of config.yaml, as in `snakemake`
make check ARGS=--download                      get pretrained weights that are not here yet
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import nn
from torch.utils import _pytree

from torchmodes.config import parse_config
from torchmodes.config.faults import meant
from torchmodes.config.files import read_file
from torchmodes.config.models import Model
from torchmodes.config.modes import BASELINE_MODE
from torchmodes.config.run import Config
from torchmodes.machine.devices import cuda_device_count, find_device, usable_cores
from torchmodes.planning.cases import case_from
from torchmodes.planning.job import Job
from torchmodes.planning.plan import Plan, limits
from torchmodes.processes.jobs import RUN_TARGET
from torchmodes.processes.outcome import Outcome
from torchmodes.processes.supervise import run_supervised
from torchmodes.results.reasons import printable, reason_of
from torchmodes.results.writing import print_anything
from torchmodes.workloads.models import build_model, download_weights
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.models.evaluation import EvaluationFault, in_batches, margin_of, scores_of
from torchmodes.workloads.models.flops import count_flops
from torchmodes.workloads.structures import copy_output, tensors_of

BASE = Path("config.yaml")
MODULE = "torchmodes.workloads.models.check"  # started as a program, it has another name
START = "torchmodes.measure.case:start"
UNITS = {"training": "optimiser step", "generation": "token"}
"""What a call of each task is that is more than a forward pass."""
_COLUMNS = ("family", "params", "MB", "FLOP", "build", "call", "output")
_FIGURES = "{:12} {:>7} {:>8} {:>7} {:>6} {:>6}  {}"


@dataclass(frozen=True)
class Checked:
    """What came of a model, at a batch of one; the figures are null where it failed.

    `tried` says what came of the tasks beside a forward pass.
    """

    name: str
    family: str
    parameters: int | None = None
    parameter_bytes: int | None = None
    flops: int | None = None
    flops_fault: str | None = None
    item: str | None = None
    inputs: str | None = None
    output: str | None = None
    build_s: float | None = None
    call_s: float | None = None
    scored: str | None = None
    tried: tuple[str, ...] = ()
    error: str | None = None


def check_model(
    name: str, spec: Mapping[str, Any], *, seed: int, device: str, features: int
) -> Checked:
    """Build a model and run it once on one item; a fault of any kind is told, not raised.

    `spec` is its section of the configuration, `features` the number of columns of the table.
    """
    try:
        start = time.perf_counter()
        built = build_model(dict(spec), seed=seed, batch_size=1, device=device, features=features)
        built_at = time.perf_counter()
        known = Checked(
            name,
            spec["family"],
            parameters=built.parameters,
            parameter_bytes=built.parameter_bytes,
            item=built.item,
            inputs=describe_shapes((built.inputs.args, built.inputs.kwargs)),
            build_s=built_at - start,
        )
        if spec.get("generation") and type(built.module).forward is nn.Module.forward:
            return known  # it has prefill and decode alone, which `try_task` calls
        with torch.inference_mode():
            output = copy_output(built.inputs.call(built.module))
        call_s = time.perf_counter() - built_at
        if fault := output_fault(output):
            raise ValueError(fault)
        counted = count_flops(built)
        scored = _try_quality(spec, built, seed=seed)
        return replace(
            known,
            flops=counted.total,
            flops_fault=counted.fault,
            output=describe_shapes(output),
            call_s=call_s,
            scored=scored,
        )
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything: the others go on
        traceback.print_exc()  # into the model's log
        return Checked(name, spec["family"], error=_described(error))


def _try_quality(spec: Mapping[str, Any], built: BuiltModel, *, seed: int) -> str | None:
    """Let the user's function score the model in eager; say what came of it."""
    reference = spec.get("quality")
    if reference is None:
        return None
    call = in_batches(built.module, built.inputs, built.batch_size, context=torch.inference_mode)
    scores = scores_of(reference, call, seed=seed)
    margin_of(spec.get("quality_margin"), scores, reference=reference)
    count = "1 example" if scores.size == 1 else f"{scores.size:,} examples"
    return f"quality: {count}, mean score in eager {scores.mean():.4g}"


def output_fault(output: Any) -> str | None:
    """Say why nothing can be compared with an output of eager, or return None."""
    tensors = tensors_of(output)
    if not tensors:
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in _pytree.tree_leaves(output)}))
        return (
            f"the model returns no tensor but {kinds or 'nothing'}: no mode can be compared with"
            " it; return the tensors, in a tuple, a list, a dict or a dataclass"
        )
    numbers = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if numbers and all(bool(tensor.isnan().all()) for tensor in numbers):
        return (
            "every number of the model's output is NaN: every mode would be called wrong; look at"
            " its weights, and at what `inputs` returns"
        )
    return None


def describe_shapes(output: Any) -> str:
    """Write the shapes of the tensors of inputs or an output, such as ``1×1000``."""
    shapes = [tensor.shape for tensor in tensors_of(output)]
    return ", ".join("×".join(map(str, shape)) or "scalar" for shape in shapes) or "no tensor"


def read_config(overlays: Sequence[Path]) -> Config:
    """Read ``config.yaml`` with files laid over it, as ``snakemake --configfile`` does.

    Raises
    ------
    ValueError
        When a file cannot be read, is not YAML, or says what the configuration does not know.
    """
    from snakemake.utils import update_config

    merged: dict[str, Any] = {}
    for file in (BASE, *overlays):
        update_config(merged, read_file(file))
    return parse_config(merged)


def check_job(argument: dict[str, Any]) -> dict[str, Any]:
    """Do `check_model` in a process of its own: its arguments and what it returns, as JSON."""
    return asdict(check_model(**argument))


def check_alone(name: str, config: Config, *, device: str, download: bool = False) -> Checked:
    """Check a model in a process of its own: a crash of it is told, and costs no other model.

    It prints into ``logs/check/{name}.log``. With `download`, pretrained weights that are not on
    this machine are fetched before, without a time limit.
    """
    model, log = config.models[name], _log(name)
    spec = _as_called(model, tasks_asked(config, name))
    if download:
        try:
            download_weights(spec)
        except Exception as error:  # noqa: BLE001 - as in `check_model`
            return Checked(name, model.family, error=_described(error))
    log.unlink(missing_ok=True)
    features = len(config.data.features)
    argument = {"name": name, "spec": spec, "seed": config.seed, "features": features}
    outcome = _alone(f"{MODULE}:check_job", {**argument, "device": device}, config, name)
    if isinstance(outcome.value, dict):
        found = Checked(**outcome.value)
        return replace(found, error=f"{found.error}; see {log}") if found.error else found
    return Checked(name, model.family, error=_ended(outcome, log))


def tasks_asked(config: Config, name: str) -> dict[str, int]:
    """Return the tasks that blocks ask of a model, each with its smallest batch."""
    sizes: dict[str, list[int]] = {}
    for block in config.blocks():
        if name in block.models:
            sizes.setdefault(block.task, []).extend(block.batch_sizes)
    return {task: min(found) for task, found in sizes.items()}


def _as_called(model: Model, tasks: Iterable[str]) -> dict[str, Any]:
    """Return a model's section; where it generates alone, with sequences of that length."""
    spec = model.model_dump()
    if [*tasks] == ["generation"] and "sequence_length" in spec:
        return spec | {"sequence_length": sum(spec["generation"].values())}
    return spec


def try_task(
    config: Config, checked: Checked, task: str, batch_size: int, *, device: str
) -> Checked:
    """Let a model that was checked do one call of a task in eager, in a process of its own.

    What its losses, targets, optimiser or steps lack is in no forward pass. Where it fails, that is
    the model's error.
    """
    identity = {"task": task, "device": device, "model": checked.name, "mode": BASELINE_MODE}
    case = case_from({**identity, "precision": "fp32", "batch_size": batch_size})
    job = Job.planned(Plan(config, case).parameters, limits(config), {}, threads=usable_cores())
    argument = {"target": START, "job": job.to_json(), "options": {}}
    outcome = _alone(RUN_TARGET, argument, config, checked.name)
    found = outcome.value
    if not isinstance(found, dict):
        return replace(checked, error=f"{task}: {_ended(outcome, _log(checked.name))}")
    if found["status"] != "ok":
        return replace(checked, error=f"{task}: {found['reason']}; {found['remedy']}")
    told = f"{task}: one {UNITS[task]} of a batch of {batch_size}, {found['first_call_s']:.3f} s"
    return replace(checked, tried=(*checked.tried, told))


def _alone(target: str, argument: dict[str, Any], config: Config, name: str) -> Outcome:
    settings = config.measurement
    return run_supervised(
        target,
        argument,
        log=_log(name),
        time_limit_s=settings.time_limit_s,
        memory_limit_bytes=settings.memory_limit_mb and settings.memory_limit_mb * 10**6,
        preload=("torch", *config.models[name].preloadable(gpu=cuda_device_count() > 0)),
    )


def _log(name: str) -> Path:
    return Path("logs/check", f"{name}.log")


def _ended(outcome: Outcome, log: Path) -> str:
    return f"{outcome.message}; {outcome.remedy or f'see {log}'}"


def head(names: Iterable[str], *, device: str) -> str:
    """Return the title and the head of the columns."""
    title = f"Models on {device}: built, and run once on one item (times in seconds)"
    return f"{title}\n{_name_cell('model', names)} {_FIGURES.format(*_COLUMNS)}"


def figures(model: Checked) -> str:
    """Return the figures of a checked model, as they stand under the head."""
    return _FIGURES.format(
        model.family,
        engineering(model.parameters),
        _figure(model.parameter_bytes and model.parameter_bytes / 1e6, "{:.1f}"),
        engineering(model.flops),
        _figure(model.build_s, "{:.2f}"),
        _figure(model.call_s, "{:.3f}"),
        model.output or "–",
    )


def engineering(value: int | None) -> str:
    """Write a count with three digits and a prefix: ``8.18 G``; a dash for none."""
    if value is None:
        return "–"
    scaled = float(value)
    for prefix in ("", "k", "M", "G", "T"):
        if scaled < 999.5:
            return f"{scaled:.3g} {prefix}".rstrip()
        scaled /= 1000
    return f"{scaled:.3g} P"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every configured model; return 1 when one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m torchmodes.workloads.models.check",
        description="Build every model and run it once.",
    )
    parser.add_argument("--configfile", type=Path, nargs="+", default=[], action="extend")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="default: all of them")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best here")
    parser.add_argument(
        "--download", action="store_true", help="fetch pretrained weights that are not here yet"
    )
    options = parser.parse_args(arguments)
    print_anything()
    console = Console(highlight=False, soft_wrap=True)
    try:
        config = read_config(options.configfile)
        chosen = options.models or list(config.models)
        if unknown := [name for name in chosen if name not in config.models]:
            told = (f"--models: unknown model {n!r}{meant(n, config.models)}" for n in unknown)
            raise ValueError("\n".join(told))
    except ValueError as error:
        console.print(escape(str(error)), style="red")
        return 1
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not options.download:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    device = options.device or find_device()
    console.print(head(chosen, device=device))
    checked: list[Checked] = []
    try:
        for name in chosen:
            # Before it is built: whatever ends this process leaves the name of its model.
            console.print(escape(_name_cell(name, chosen)), end=" ")
            console.file.flush()
            found = check_alone(name, config, device=device, download=options.download)
            for task, batch_size in tasks_asked(config, name).items():
                if task in UNITS and found.error is None:
                    found = try_task(config, found, task, batch_size, device=device)
            checked.append(found)
            _print_result(found, console)
            console.file.flush()
    except KeyboardInterrupt:
        console.print(f"\ninterrupted: {len(checked)} of {len(chosen)} models were checked")
        return 130
    failed = [model.name for model in checked if model.error]
    if failed:
        console.print(f"{len(failed)} of {len(chosen)} failed: {escape(', '.join(failed))}")
    return 1 if failed else 0


def _print_result(model: Checked, console: Console) -> None:
    """Go on with the line that the model's name began, and say what was wrong below it."""
    ending = "[red]error[/]" if model.error else "[green]ok[/]"
    console.print(f"{escape(figures(model))} {ending}")
    if model.error:
        console.print(f"  [red]{escape(model.error)}[/]")
    for told in filter(None, (model.scored, *model.tried)):
        console.print(f"  {escape(told)}")
    if model.flops_fault:
        console.print(f"  FLOP not counted: {escape(model.flops_fault)}")


def _name_cell(name: str, names: Iterable[str]) -> str:
    return name.ljust(max(map(len, ("model", *names))))


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _described(error: Exception) -> str:
    """Say what went wrong in one line; our own messages need no class in front."""
    if type(error) in (ValueError, EvaluationFault):
        lines = printable(str(error)).splitlines()
        return "; ".join(line.strip() for line in lines if line.strip())
    return reason_of(error)


if __name__ == "__main__":
    sys.exit(main())
