"""Try one model in a few modes, nothing edited: its configuration is written, then measured.

make try MODEL=timm/convnext_tiny           a family and what it calls the model
make try MODEL=transformers/t5 BATCH=8      also torchvision/resnet18, transformers/path/of/a/folder
make try MODEL=mine/model.py:build          yours; inputs(batch_size) stands in the same file
make try MODEL=… MODES='eager inductor'     modes of config/full.yaml

All of it is in a folder of its own, ``try/NAME``, whose ``config.yaml`` one can go on from: what
was edited in it is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from torchmodes.config import parse_config
from torchmodes.config.base import REFERENCE
from torchmodes.config.faults import meant
from torchmodes.config.files import read_file
from torchmodes.config.models import FAMILIES, saved_model
from torchmodes.config.run import Config
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
#   snakemake --cores 4 --directory {folder}
"""
FOLDER = Path("try")


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
        section = {"family": "user", "factory": f"{path}:{function}", "inputs": f"{path}:inputs"}
        return _plain(f"{path.stem}-{function}"), section
    family, _, name = model.partition("/")
    known = {tag: section.named_by for tag, section in FAMILIES.items() if section.named_by}
    if family not in known or not name:
        if name:
            told = f"{family!r} is no family that has names{meant(family, known)}"
        elif of := families_with(model):
            told = "did you mean " + " or ".join(f"{family}/{model}" for family in of) + "?"
        else:
            told = f"families: {', '.join(known)}"
        raise ValueError(
            f"MODEL: {model!r} is neither family/name, such as timm/convnext_tiny, nor"
            f" path/to/file.py:build; {told}"
        )
    folder = saved_model(name)  # results are made in another folder, from which paths count
    told = name if folder is None else str(folder.absolute())
    return _plain(f"{family}-{name}"), {"family": family, known[family]: told}


def families_with(name: str) -> list[str]:
    """Return the families whose library has a model of this name."""
    import timm
    import torchvision
    from transformers import CONFIG_MAPPING

    names = {
        "torchvision": torchvision.models.list_models(),
        "timm": timm.list_models(),
        "transformers": CONFIG_MAPPING,
    }
    return [family for family, known in names.items() if name in known]


def trial(model: str, modes: Sequence[str], batch_size: int, known: Config) -> dict[str, Any]:
    """Return a configuration that measures one model, in modes that `known` has, and nothing else.

    Raises
    ------
    ValueError
        When there is no such mode or family, or no item in a batch.
    """
    if batch_size < 1:
        raise ValueError(f"BATCH: {batch_size} is no number of items per call; give 1 or more")
    name, section = model_section(model)
    for mode in modes:
        if mode not in known.modes:
            raise ValueError(f"MODES: there is no mode {mode!r}{meant(mode, known.modes)}")
        if known.modes[mode].engine == "quantize":
            raise ValueError(
                f"MODES: {mode!r} quantises, and all is tried in fp32; add it to {FOLDER}/NAME/"
                "config.yaml, with a block of `precisions: [int8]`"
            )
    return {
        "seed": known.seed,
        "data": {},
        "models": {name: section},
        "modes": {mode: known.modes[mode].model_dump(exclude_unset=True) for mode in modes},
        "benchmark": [
            {"task": "inference", "models": [name], "modes": [*modes], "batch_sizes": [batch_size]}
        ],
        "measurement": MEASUREMENT,
    }


def folder_of(config: Mapping[str, Any]) -> Path:
    """Return the folder of a trial: named after the model, but not that of another model's trial.

    Models of one name, as of ``a/net.py:build`` and ``b/net.py:build``, differ in their sections.
    """
    ((name, section),) = config["models"].items()
    short = FOLDER / name
    if not (short / "config.yaml").exists():
        return short
    models = read_file(short / "config.yaml").get("models")
    sections = models.values() if isinstance(models, Mapping) else ()
    if any(isinstance(own, Mapping) and section.items() <= own.items() for own in sections):
        return short
    digest = hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()
    return FOLDER / f"{name}-{digest[:8]}"


def text_of(config: Mapping[str, Any], *, model: str, folder: Path) -> str:
    """Write the file of a trial: YAML below a comment that says what to do with it."""
    told = HEAD.format(model=model, folder=folder)
    return told + yaml.safe_dump(dict(config), sort_keys=False)


def is_edited(file: Path, model: str, known: Config) -> bool:
    """Tell whether a trial's file says anything that ``make try`` would not write."""
    try:
        (block,) = read_file(file)["benchmark"]
        (batch_size,) = block["batch_sizes"]
        written = trial(model, block["modes"], batch_size, known)
    except (KeyError, TypeError, ValueError):
        return True
    return file.read_text(encoding="utf-8") != text_of(written, model=model, folder=file.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the model once, write its configuration and measure it; return 1 where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m torchmodes.workloads.models.trial")
    parser.add_argument("model", help="family/name, or path/to/file.py:build")
    parser.add_argument("--modes", nargs="*", help=f"default: {' '.join(MODES)}")
    parser.add_argument("--batch", help="items per call; default: 1")
    parser.add_argument("--cores", type=int, default=4)
    options = parser.parse_args(arguments)
    print_anything()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    console = Console(highlight=False, soft_wrap=True)
    try:
        modes = list(dict.fromkeys(["eager", *(options.modes or MODES)]))  # the baseline is there
        known = read_config([EVERY_MODE])
        config = trial(options.model, modes, _batch_size(options.batch), known)
        tried = parse_config(config)
        folder = folder_of(config)
        file = folder / "config.yaml"
        kept = file.exists() and is_edited(file, options.model, known)
        if kept and (options.modes or options.batch) and read_file(file) != config:
            raise ValueError(
                f"{file} was edited and is kept: it says what is measured, not MODES and BATCH."
                f" Edit it and leave them out, or remove {folder} to begin anew"
            )
    except ValueError as error:
        console.print(escape(str(error)), style="red")
        return 1
    (name,) = tried.models
    device = find_device()
    checked = check_alone(name, tried, device=device)
    if checked.error:
        console.print(f"MODEL: {escape(checked.error)}", style="red")
        return 1
    console.print(f"{head([name], device=device)}\n{name} {escape(figures(checked))}")
    if kept:
        console.print(f"{file} was edited and is kept; remove {folder} to begin anew")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text_of(config, model=options.model, folder=folder))
    console.print(f"Measuring what {file} says: the page is {folder}/reports/report.html")
    snakemake = Path(sys.executable).with_name("snakemake")
    command = [snakemake, "--cores", str(options.cores), "--directory", folder, "--quiet", "rules"]
    return subprocess.run(command, check=False).returncode


def _batch_size(given: str | None) -> int:
    try:
        return 1 if given is None else int(given)
    except ValueError:
        raise ValueError(f"BATCH: {given!r} is no whole number; give 1 or more") from None


def _plain(name: str) -> str:
    """Make a name for files of what a model is called."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", name).strip("-.")[-64:].lstrip("-._")


if __name__ == "__main__":
    sys.exit(main())
