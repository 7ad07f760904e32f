"""Which conda environment runs a case: that of its model's family, widened to its mode's engine.

Snakemake makes these environments with ``--sdm conda``; without that nothing here matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from torchmodes.config.models import FAMILIES
from torchmodes.config.modes import ENGINES
from torchmodes.planning.provenance import ROOT
from torchmodes.planning.user_code import ENVIRONMENT, user_files

FOLDER = Path("envs")


def environment_file(cases: Iterable[Mapping[str, Any]]) -> Path:
    """Return the environment file of a job: it holds what every one of its cases imports.

    The parameters of each case have at least its ``model`` and ``mode``, as configured. It is a
    file in ``envs/``, from the project's root; or the whole path of the one that lies beside the
    user's code (``mine.env.yaml`` beside ``mine.py``), which replaces it.

    Raises
    ------
    ValueError
        Where two files of the user's have an environment each: a job runs in one. Or where no
        environment holds what the cases import together.
    """
    names = {"torch"}
    own: set[Path] = set()
    for case in cases:
        model, mode, train = case["model"], case["mode"], case.get("train", {})
        names |= {FAMILIES[model["family"]].environment, ENGINES[mode["engine"]].environment}
        given = [file for section in (model, mode, train) for file in user_files(section)]
        files = [file.with_suffix(ENVIRONMENT) for file in given]
        own |= {file.resolve() for file in files if file.is_file()}
    if len(own) > 1:
        raise ValueError(
            "a job runs in one conda environment, but this case has several: "
            + ", ".join(sorted(map(str, own)))
        )
    return own.pop() if own else FOLDER / f"{_smallest(frozenset(names))}.yaml"


@cache
def _smallest(names: frozenset[str]) -> str:
    """Return the smallest environment that holds all that these hold."""
    pins = _pins()
    needed = frozenset[str]().union(*(pins[name] for name in names))
    wide_enough = [name for name, held in pins.items() if held >= needed]
    if not wide_enough:
        raise ValueError(f"no environment in {FOLDER}/ holds all of {', '.join(sorted(names))}")
    return min(wide_enough, key=lambda name: len(pins[name]))


@cache
def _pins() -> dict[str, frozenset[str]]:
    """Return what each environment has pip install, by its name."""
    found = {}
    for path in sorted((ROOT / FOLDER).glob("*.yaml")):
        *_, pip = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
        found[path.stem] = frozenset(pip["pip"])
    return found
