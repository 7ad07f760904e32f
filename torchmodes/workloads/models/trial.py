"""Try one model in a few modes, nothing edited: its configuration is written, then measured.

make try MODEL=timm/convnext_tiny           a family and what it calls the model
make try MODEL=transformers/t5 BATCH=8      also torchvision/resnet18, transformers/path/of/a/folder
make try MODEL=mine/model.py:build          yours; inputs(batch_size) stands in the same file
make try MODEL=… MODES='eager inductor'     modes of config/full.yaml

All of it is in a folder of its own, ``try/NAME``, whose ``config.yaml`` one can go on from.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from torchmodes.config import Config, Model
from torchmodes.config.base import REFERENCE
from torchmodes.config.faults import meant
from torchmodes.config.models import FAMILIES, saved_model
from torchmodes.machine.devices import find_device
from torchmodes.results.writing import print_anything, write_atomically
from torchmodes.workloads.models.check import check_alone, figures, head, read_config

EVERY_MODE = Path("config/full.yaml")
MODES = ("eager", "inductor", "trace-optimized", "onnxruntime", "openvino")
"""What is tried unless told: what people ask about first, each in a minute or less."""
MEASUREMENT = {"runs": 3, "budget_s": 1.0, "warmup_budget_s": 0.5, "time_limit_s": 600.0}
"""Few and short runs, for an answer within minutes."""
HEAD = """\
# Made by `make try MODEL={model}`. Edit it, and measure what became out of date:
#   snakemake --cores {cores} --directory {folder}
"""


def model_section(model: str) -> tuple[str, dict[str, Any]]:
    """Return a name for a model and its section of the configuration.

    Parameters
    ----------
    model
        ``family/name``, or ``path/to/file.py:build``.

    Raises
    ------
    ValueError
        When it is neither.
    """
    if re.match(REFERENCE, model):
        file, _, function = model.rpartition(":")
        path = Path(file).expanduser().absolute()
        factory, inputs = f"{path}:{function}", f"{path}:inputs"
        return _plain(f"{path.stem}-{function}"), {
            "family": "user",
            "factory": factory,
            "inputs": inputs,
        }
    family, _, name = model.partition("/")
    known = {tag: section.named_by for tag, section in FAMILIES.items() if section.named_by}
    if family not in known or not name:
        wrong = f"{family!r} is no family that has names{meant(family, known)}" if name else ""
        raise ValueError(
            f"MODEL: {model!r} is neither family/name, such as timm/convnext_tiny, nor"
            f" path/to/file.py:build; {wrong or 'families: ' + ', '.join(known)}"
        )
    folder = saved_model(name)  # results are made in another folder, from which paths count
    told = name if folder is None else str(folder.absolute())
    return _plain(f"{family}-{name}"), {"family": family, known[family]: told}


def trial(model: str, modes: Sequence[str], batch_size: int, known: Config) -> dict[str, Any]:
    """Return a configuration that measures one model, and nothing else.

    Parameters
    ----------
    model
        As for `model_section`.
    modes
        Names of modes of `known`.
    batch_size
        Items per call.
    known
        A configuration that has the modes.

    Raises
    ------
    ValueError
        When there is no such mode or family.
    """
    name, section = model_section(model)
    for mode in modes:
        if mode not in known.modes:
            raise ValueError(f"MODES: there is no mode {mode!r}{meant(mode, known.modes)}")
    return {
        "seed": known.seed,
        "data": {},
        "models": {name: section},
        "modes": {mode: known.modes[mode].model_dump(exclude_unset=True) for mode in modes},
        "benchmark": [
            {
                "task": "inference",
                "models": [name],
                "modes": list(modes),
                "batch_sizes": [batch_size],
            }
        ],
        "measurement": MEASUREMENT,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the model once, write its configuration and measure it; return 1 where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m torchmodes.workloads.models.trial")
    parser.add_argument("model", help="family/name, or path/to/file.py:build")
    parser.add_argument("--modes", nargs="*", help=f"default: {' '.join(MODES)}")
    parser.add_argument("--batch", type=int, default=1, help="items per call")
    parser.add_argument("--cores", type=int, default=4)
    options = parser.parse_args(arguments)
    print_anything()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    console = Console(highlight=False, soft_wrap=True)
    try:
        modes = list(dict.fromkeys(["eager", *(options.modes or MODES)]))  # the baseline is there
        config = trial(options.model, modes, options.batch, read_config([EVERY_MODE]))
    except ValueError as error:
        console.print(escape(str(error)), style="red")
        return 1
    (name, section), *_ = config["models"].items()
    whole: Any = TypeAdapter(Model).validate_python(section)
    device = find_device()
    checked = check_alone(
        {
            "name": name,
            "spec": whole.model_dump(),
            "seed": config["seed"],
            "device": device,
            "features": 0,
        },
        log=Path("logs/check", f"{name}.log"),
        time_limit_s=MEASUREMENT["time_limit_s"],
        memory_limit_mb=None,
    )
    if checked.error:
        console.print(f"MODEL: {escape(checked.error)}", style="red")
        return 1
    console.print(f"{head([name], device=device)}\n{name} {escape(figures(checked))}")
    folder = Path("try", name)
    file = folder / "config.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    told = HEAD.format(model=options.model, cores=options.cores, folder=folder)
    write_atomically(file, told + yaml.safe_dump(config, sort_keys=False))
    console.print(f"Measuring what {file} says: the page is {folder}/reports/report.html")
    snakemake = Path(sys.executable).with_name("snakemake")
    command = [snakemake, "--cores", str(options.cores), "--directory", folder, "--quiet", "rules"]
    return subprocess.run(command, check=False).returncode


def _plain(name: str) -> str:
    """Make a name for files of what a model is called."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", name).strip("-.")[-64:].lstrip("-._")


if __name__ == "__main__":
    sys.exit(main())
