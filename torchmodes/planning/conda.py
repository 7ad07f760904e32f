"""Which conda environment runs a case: that of its model's family, widened to its mode's engine.

Snakemake makes these environments with ``--sdm conda``; without that nothing here matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torchmodes.planning.user_code import ENVIRONMENT, user_files

OF_FAMILY = {"mlp": "torch", "torchvision": "vision", "transformers": "language", "user": "onnx"}
"""A family's file in ``envs/``. Code of the user's may import whatever the lock has."""

OF_ENGINE = {"onnxruntime": "onnx", "openvino": "onnx", "tensorrt": "tensorrt", "user": "onnx"}
"""The same for the engines that PyTorch alone, with torchao, is not enough for."""


def environment_file(cases: Iterable[Mapping[str, Any]]) -> Path:
    """Return the environment file of a job: it holds what every one of its cases imports.

    Parameters
    ----------
    cases
        The parameters of each case: at least its ``model`` and ``mode``, as configured.

    Returns
    -------
    Path
        A file in ``envs/``, from the project's root; or the whole path of the one that lies beside
        the user's code (``mine.env.yaml`` beside ``mine.py``), which replaces it.

    Raises
    ------
    ValueError
        Where two files of the user's have an environment each: a job runs in one.
    """
    names = {"torch"}
    own: set[Path] = set()
    for case in cases:
        model, mode = case["model"], case["mode"]
        names |= {OF_FAMILY[model["family"]], OF_ENGINE.get(mode["engine"], "torch")}
        files = [file.with_suffix(ENVIRONMENT) for file in (*user_files(model), *user_files(mode))]
        own |= {file.resolve() for file in files if file.is_file()}
    if len(own) > 1:
        raise ValueError(
            "a job runs in one conda environment, and here are several: "
            + ", ".join(sorted(map(str, own)))
        )
    return own.pop() if own else Path("envs", f"{_widest(names)}.yaml")


def _widest(names: set[str]) -> str:
    """Return the smallest environment that holds all these: each holds torch, onnx all but one."""
    if "tensorrt" in names:
        return "tensorrt"
    if "onnx" in names or names >= {"vision", "language"}:
        return "onnx"
    return max(names, key=lambda name: name != "torch")
