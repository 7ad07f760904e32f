"""What a training left of its model: which files can predict.

Every mode leaves its weights. Some leave an archive that runs without the model's class; that one
comes first, because it is what the mode would ship.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torchmodes.cases import trained_model, training_metrics

Kind = Literal["torchscript", "aotinductor", "export", "onnx", "weights"]
WEIGHTS = "weights.pt"
_REPEATED = "; it takes the batch it was made for, so the row is repeated"
_RUN_BY = {
    "torchscript": "a TorchScript archive, run by torch.jit without the model's class",
    "aotinductor": "an AOTInductor package: compiled code, run without the model's class"
    + _REPEATED,
    "export": "an exported program, run by torch.export without the model's class" + _REPEATED,
    "onnx": "an ONNX graph, run by ONNX Runtime" + _REPEATED,
    "weights": "loaded into the MLP and run by eager PyTorch",
}


class Unusable(ValueError):
    """A trained model that cannot predict: the message says which file and why.

    Attributes
    ----------
    remedy
        The command that makes it anew, or what else to do.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Artefact:
    """One file that can predict, and the mode whose training left it."""

    mode: str
    path: Path
    kind: Kind

    @property
    def told(self) -> str:
        """What it is and what runs it."""
        return f"{self.path.name}, {_RUN_BY[self.kind]}"

    def unusable(self, reason: str) -> Unusable:
        """Return the error that says why this file cannot predict."""
        return Unusable(f"{self.path}: {reason}", remedy=train_again(self.mode))


def train_first(mode: str) -> str:
    """Return the command that trains in a mode."""
    return f"snakemake --cores 4 {training_metrics(mode)}"


def train_again(mode: str) -> str:
    """Return the command that trains in a mode although its files are there."""
    return f"snakemake --cores 4 --force {training_metrics(mode)}"


def find_artefacts(mode: str) -> list[Artefact]:
    """Return what of a mode's training can predict, the mode's own archive before its weights.

    Raises
    ------
    Unusable
        When the model was not trained in that mode, or the training left nothing.
    """
    folder = Path(trained_model(mode))
    found = [
        *(Artefact(mode, path, "torchscript") for path in folder.glob("model.pt")),
        *(Artefact(mode, path, _kind_of_package(path)) for path in sorted(folder.glob("*.pt2"))),
        *(Artefact(mode, path, "onnx") for path in sorted(folder.glob("*.onnx"))),
        *(Artefact(mode, path, "weights") for path in folder.glob(WEIGHTS)),
    ]
    if not found:
        raise _nothing(mode)
    return found


def weights_of(mode: str) -> Artefact:
    """Return the weights of a mode, which every training leaves.

    Raises
    ------
    Unusable
        When there are none.
    """
    for artefact in find_artefacts(mode):
        if artefact.kind == "weights":
            return artefact
    raise Unusable(f"{trained_model(mode)}/{WEIGHTS}: no such file", remedy=train_again(mode))


def _nothing(mode: str) -> Unusable:
    """Say why a mode has no model: not trained, not possible here, failed, or deleted."""
    metrics = Path(training_metrics(mode))
    if not metrics.is_file():
        return Unusable(
            f"{metrics}: no such file; no model was trained in {mode}", remedy=train_first(mode)
        )
    try:
        told = json.loads(metrics.read_bytes())
        status, reason, remedy = told["status"], told.get("reason"), told.get("remedy")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Unusable(
            f"{metrics}: cannot be read ({error}), and there is no model", remedy=train_again(mode)
        )
    if status == "ok":
        return Unusable(f"{trained_model(mode)}: no model is left in it", remedy=train_again(mode))
    return Unusable(
        f"Training in {mode} is {status}: {reason or 'no reason was recorded'}",
        remedy=remedy or train_again(mode),
    )


def _kind_of_package(path: Path) -> Kind:
    """Tell an AOTInductor package from an exported program; both are zip files of one layout."""
    try:
        with zipfile.ZipFile(path) as package:
            compiled = any("/aotinductor/" in name for name in package.namelist())
    except (OSError, zipfile.BadZipFile):
        return "export"  # loading says what is wrong with it
    return "aotinductor" if compiled else "export"
