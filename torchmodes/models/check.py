"""Build every configured model and run it once, so that faults show before hours of measuring.

make check                                      every model of config.yaml
make check ARGS='--configfile mine.yaml'        on top of config.yaml, as in `snakemake`
make check ARGS=--download                      get pretrained weights that are not here yet
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch.utils import _pytree

from torchmodes.config import Config, Model, parse_config
from torchmodes.config.files import read_file
from torchmodes.devices import find_device
from torchmodes.faults import meant
from torchmodes.models import build_model, download_weights
from torchmodes.models.flops import count_flops
from torchmodes.writing import print_anything

BASE = Path("config.yaml")


@dataclass(frozen=True)
class Checked:
    """What came of a model, at a batch of one; the figures are null where it failed."""

    name: str
    family: str
    parameters: int | None = None
    parameter_bytes: int | None = None
    flops: int | None = None
    flops_fault: str | None = None
    output: str | None = None
    build_s: float | None = None
    call_s: float | None = None
    error: str | None = None


def check_model(
    name: str,
    spec: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    features: int,
    download: bool = False,
) -> Checked:
    """Build a model and run it once on one item; a fault of any kind is told, not raised.

    Parameters
    ----------
    name, spec
        The model's name and section of the configuration.
    seed
        Seed of weights and inputs.
    device
        Where it runs.
    features
        Number of columns of the table, for the family ``mlp``.
    download
        Whether to fetch pretrained weights that are not on this machine.
    """
    try:
        if download:
            download_weights(spec)
        start = time.perf_counter()
        built = build_model(dict(spec), seed=seed, batch_size=1, device=device, features=features)
        built_at = time.perf_counter()
        with torch.inference_mode():
            output = _pytree.tree_map_only(
                torch.Tensor, torch.Tensor.cpu, built.inputs.call(built.module)
            )
        call_s = time.perf_counter() - built_at
        counted = count_flops(built)
        return Checked(
            name,
            spec["family"],
            parameters=built.parameters,
            parameter_bytes=built.parameter_bytes,
            flops=counted.total,
            flops_fault=counted.fault,
            output=describe_shapes(output),
            build_s=built_at - start,
            call_s=call_s,
        )
    except Exception as error:  # noqa: BLE001 - a user's model may raise anything: the others go on
        return Checked(name, spec["family"], error=_described(error))


def describe_shapes(output: Any) -> str:
    """Write the shapes of an output's tensors, such as ``1×1000``."""
    leaves = [leaf for leaf in _pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    return ", ".join("×".join(map(str, leaf.shape)) or "scalar" for leaf in leaves) or "no tensor"


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


def table_of(checked: Sequence[Checked], *, device: str) -> Table:
    """Return the table that is printed."""
    table = Table(
        title=f"Models on {device}: built, and run once on one item (seconds)",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for column in ("model", "family"):
        table.add_column(column, overflow="fold")
    for column in ("params", "MB", "FLOP", "output", "build", "call"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("")
    for model in checked:
        table.add_row(
            escape(model.name),
            model.family,
            engineering(model.parameters),
            _figure(model.parameter_bytes and model.parameter_bytes / 1e6, "{:.1f}"),
            engineering(model.flops),
            model.output or "–",
            _figure(model.build_s, "{:.2f}"),
            _figure(model.call_s, "{:.3f}"),
            "[red]error[/]" if model.error else "[green]ok[/]",
        )
    return table


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
        prog="python -m torchmodes.models.check", description="Build every model and run it once."
    )
    parser.add_argument("--configfile", type=Path, nargs="+", default=[], action="extend")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="default: all of them")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best here")
    parser.add_argument(
        "--download", action="store_true", help="fetch pretrained weights that are not here yet"
    )
    options = parser.parse_args(arguments)
    print_anything()
    console = Console()
    try:
        config = read_config(options.configfile)
        chosen = _chosen(config.models, options.models or config.models)
    except ValueError as error:
        console.print(escape(str(error)), style="red", soft_wrap=True)
        return 1
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not options.download:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    device = options.device or find_device()
    checked = []
    for name, model in chosen.items():
        with console.status(escape(f"{name} …")):
            checked.append(
                check_model(
                    name,
                    model.model_dump(),
                    seed=config.seed,
                    device=device,
                    features=len(config.data.features),
                    download=options.download,
                )
            )
    console.print(table_of(checked, device=device))
    for model in checked:
        if model.error:
            console.print(f"[red]{escape(model.name)}[/]: {escape(model.error)}", soft_wrap=True)
        if model.flops_fault:
            told = f"{model.name}: FLOP not counted: {model.flops_fault}"
            console.print(escape(told), soft_wrap=True)
    return 1 if any(model.error for model in checked) else 0


def _chosen(models: Mapping[str, Model], names: Iterable[str]) -> dict[str, Model]:
    unknown = [f"--models: unknown model {n!r}{meant(n, models)}" for n in names if n not in models]
    if unknown:
        raise ValueError("\n".join(unknown))
    return {name: models[name] for name in names}


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _described(error: Exception) -> str:
    """Say what went wrong in one line; our own messages need no class in front."""
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    sys.exit(main())
