"""The files that a training leaves of its model, and which of them can predict.

Every mode leaves its weights. Some leave an archive that runs without the model's class; that one
comes first, because it is what the mode would ship. But loading an archive can run whatever its
maker put into it: only one that a training of this user signed is loaded without asking.
"""

from __future__ import annotations

import hashlib
import shlex
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torchmodes.planning.cases import trained_model, training_metrics
from torchmodes.results.reading import CorruptFile, read_bytes
from torchmodes.results.signing import is_signed
from torchmodes.workloads.training.metrics import Metrics, read_metrics

Kind = Literal["torchscript", "aotinductor", "export", "onnx", "weights"]
WEIGHTS = "weights.pt"
_REPEATED = "; it takes the batch it was made for, so the row is repeated"
_RUN_BY = {
    "torchscript": "a TorchScript archive, run by torch.jit without the model's class",
    "aotinductor": "an AOTInductor package: compiled code, run without the model's class"
    + _REPEATED,
    "export": "an exported program, run by torch.export without the model's class" + _REPEATED,
    "onnx": "an ONNX graph, run by ONNX Runtime" + _REPEATED,
    "weights": "loaded into the MLP and run by eager PyTorch: trained in this mode, not run in it",
}
_RISK: dict[str, str] = {
    "torchscript": "a TorchScript archive runs the program in it, which can write to your files",
    "aotinductor": "an AOTInductor package runs the machine code in it, with all that you may do",
    "export": "an exported program unpickles its sample inputs, which can run any code",
    "onnx": "an ONNX graph hands it to native code, which may open the files that it names",
}


class Unusable(ValueError):
    """A trained model that cannot predict: which file, why, and a command that makes it anew."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Untrusted(Unusable):
    """An archive that nobody vouches for, by its digest; it was not loaded."""

    def __init__(self, artefact: Artefact, *, digest: str) -> None:
        super().__init__(
            f"{artefact.path}: was not made by a training of yours here, and loading"
            f" {_RISK[artefact.kind]}; it was not loaded",
            remedy=train_again(artefact.mode),
        )
        self.digest = digest


@dataclass(frozen=True)
class Artefact:
    """One file that can predict, and the mode whose training left it."""

    mode: str
    path: Path
    kind: Kind

    @property
    def description(self) -> str:
        """What it is and what runs it."""
        return f"{self.path.name}, {_RUN_BY[self.kind]}"

    def unusable(self, reason: str) -> Unusable:
        """Return the error that says why this file cannot predict."""
        return Unusable(f"{self.path}: {reason}", remedy=train_again(self.mode))


def train_again(mode: str) -> str:
    """Return the command that trains in a mode although its files are there."""
    return f"snakemake --cores 4 --force {shlex.quote(training_metrics(mode))}"


def find_artefacts(mode: str) -> list[Artefact]:
    """Return what of a mode's training can predict, the mode's own archive before its weights.

    Raises
    ------
    Unusable
        When the model was not trained in that mode, or the training left nothing.
    """
    folder = Path(trained_model(mode))
    artefacts = [
        *(Artefact(mode, path, "torchscript") for path in folder.glob("model.pt")),
        *(Artefact(mode, path, _kind_of_package(path)) for path in sorted(folder.glob("*.pt2"))),
        *(Artefact(mode, path, "onnx") for path in sorted(folder.glob("*.onnx"))),
        *(Artefact(mode, path, "weights") for path in folder.glob(WEIGHTS)),
    ]
    if not artefacts:
        raise _nothing(mode)
    return artefacts


def default_artefact(mode: str) -> Artefact:
    """Return what answers for a mode: its archive where it may be loaded, else its weights.

    Raises
    ------
    Unusable
        When there is nothing, or nothing that may be loaded without being asked for.
    """
    return next(filter(loads_unasked, find_artefacts(mode)), None) or weights_of(mode)


def loads_unasked(artefact: Artefact) -> bool:
    """Tell whether loading it needs nobody's leave: weights, or what a training here signed."""
    return artefact.kind == "weights" or is_own(artefact, _content(artefact))


def batch_size(artefact: Artefact) -> int | None:
    """Return the batch that a mode was trained with; None where that is not known."""
    metrics = _metrics(artefact.mode)
    return None if metrics is None else metrics.batch_size or None


def is_own(artefact: Artefact, content: bytes) -> bool:
    """Tell whether a training of this user made this content, for the batch that it tells."""
    metrics = _metrics(artefact.mode)
    if metrics is None or not metrics.batch_size:
        return False
    signature = metrics.signatures.get(artefact.path.name)
    return signature is not None and is_signed(
        content, batch_size=metrics.batch_size, signature=signature
    )


def read_allowed(artefact: Artefact, allowed: Collection[str]) -> bytes:
    """Read an archive that may be loaded: what is loaded is then what was looked at.

    `allowed` are SHA-256 digests of what the user allowed although nobody vouches for it.

    Raises
    ------
    Untrusted
        When no training of this user signed it and it is not among these.
    Unusable
        When it cannot be read.
    """
    content = _content(artefact)
    digest = hashlib.sha256(content).hexdigest()
    if digest in allowed or is_own(artefact, content):
        return content
    raise Untrusted(artefact, digest=digest)


def _content(artefact: Artefact) -> bytes:
    try:
        return read_bytes(artefact.path)
    except CorruptFile as error:
        raise artefact.unusable(error.unreadable.reason) from error
    except OSError as error:
        raise artefact.unusable(f"cannot be read ({error.strerror})") from error


def _metrics(mode: str) -> Metrics | None:
    """Read what a training told; None where that cannot be read."""
    try:
        return read_metrics(Path(training_metrics(mode)))
    except CorruptFile:
        return None


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
    path = Path(training_metrics(mode))
    if not path.exists():
        return Unusable(
            f"{path}: no such file; no model was trained in {mode}",
            remedy=f"snakemake --cores 4 {shlex.quote(str(path))}",
        )
    try:
        told = read_metrics(path)
    except CorruptFile as error:
        return Unusable(
            f"{path} {error.unreadable.reason}, and there is no model", remedy=train_again(mode)
        )
    if told.status == "ok":
        return Unusable(f"{trained_model(mode)}: no model is left in it", remedy=train_again(mode))
    return Unusable(
        f"Training in {mode} is {told.status}: {told.reason or 'no reason was recorded'}",
        remedy=told.remedy or train_again(mode),
    )


def _kind_of_package(path: Path) -> Kind:
    """Tell an AOTInductor package from an exported program; both are zip files of one layout."""
    if not path.is_file():  # to open a pipe is to wait for who writes into it
        return "export"
    try:
        with zipfile.ZipFile(path) as package:
            compiled = any("/aotinductor/" in name for name in package.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return "export"  # loading says what is wrong with it
    return "aotinductor" if compiled else "export"
