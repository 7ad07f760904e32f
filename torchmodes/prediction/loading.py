"""Loading a trained model: whatever is wrong with its file becomes one error that names it."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from torchmodes.planning.cases import training_metrics
from torchmodes.prediction.artefacts import Artefact, batch_size, read_allowed
from torchmodes.results.reading import CorruptFile, read_bytes
from torchmodes.workloads.models.mlp import HousePriceMLP
from torchmodes.workloads.training.dataset import TableStatistics

Model = Callable[[torch.Tensor], torch.Tensor]
"""Features of shape (1, features), z-scored, to the z-scored target of shape (1, 1)."""


def load_model(
    artefact: Artefact, statistics: TableStatistics, *, allowed: Collection[str] = ()
) -> Model:
    """Load an artefact on the CPU, checked to answer a row of the table's features.

    Weights hold numbers only; an archive can run what is in it: see
    `torchmodes.prediction.artefacts.read_allowed`.

    Raises
    ------
    Untrusted
        When it is an archive that no training of this user made, nor is it allowed.
    Unusable
        When the file is corrupt, or belongs to another table or model.
    """
    if artefact.kind == "weights":
        return load_mlp(artefact, statistics)
    _check_table(artefact, statistics)
    features = len(statistics.features)
    content = read_allowed(artefact, allowed)
    try:
        model = _LOADERS[artefact.kind](content, artefact)
        with torch.inference_mode():
            answer = model(torch.zeros(1, features))
    except Exception as error:
        # Whatever a broken or foreign file makes PyTorch or ONNX Runtime say.
        raise artefact.unusable(
            f"cannot be used for {features} features ({type(error).__name__}: {_last(error)})"
        ) from error
    if answer.shape != (1, 1):
        raise artefact.unusable(f"answers one row with {tuple(answer.shape)} values, not (1, 1)")
    return model


def load_mlp(artefact: Artefact, statistics: TableStatistics) -> HousePriceMLP:
    """Load a mode's weights into the MLP they fit, in evaluation mode.

    Raises
    ------
    Unusable
        When the file is corrupt, or belongs to another table or model.
    """
    _check_table(artefact, statistics)
    state = _load_tensors(artefact, artefact.path)
    matrices = [value for value in state.values() if getattr(value, "ndim", 0) == 2]
    if not matrices:
        raise artefact.unusable("holds no weights of linear layers")
    features = matrices[0].shape[1]
    if features != len(statistics.features):
        raise artefact.unusable(
            f"its weights take {features} features, and the table has {len(statistics.features)}:"
            " they are those of another table"
        )
    try:
        module = HousePriceMLP(features, [matrix.shape[0] for matrix in matrices[:-1]])
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:  # sizes, or names that are no text
        raise artefact.unusable(f"its weights do not fit the MLP ({_last(error)})") from error
    return module.eval()


def _torchscript(content: bytes, _: Artefact) -> Model:
    return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()


def _exported(content: bytes, _: Artefact) -> Model:
    program = torch.export.load(io.BytesIO(content))
    assert program.example_inputs is not None
    return _in_batches_of(program.example_inputs[0][0].shape[0], program.module())


def _aotinductor(content: bytes, artefact: Artefact) -> Model:
    # Compiled code does not look at the shapes it gets; it was compiled for the training's batch.
    rows = batch_size(artefact)
    if rows is None:
        raise ValueError(f"{training_metrics(artefact.mode)} tells no batch_size")
    compiled = torch._inductor.aoti_load_package(io.BytesIO(content))
    device = compiled.get_metadata().get("AOTI_DEVICE_KEY", "cpu")
    if device != "cpu":
        raise ValueError(f"its code was compiled for {device}, and predictions are made on the CPU")
    return _in_batches_of(rows, compiled)


def _onnx(content: bytes, _: Artefact) -> Model:
    from onnxruntime import InferenceSession

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    rows = taken.shape[0] if isinstance(taken.shape[0], int) else 1

    def run(x: torch.Tensor) -> torch.Tensor:
        (answer,) = session.run(None, {taken.name: x.numpy()})
        return torch.from_numpy(answer)

    return _in_batches_of(rows, run)


_LOADERS: Mapping[str, Callable[[bytes, Artefact], Model]] = {
    "torchscript": _torchscript,
    "export": _exported,
    "aotinductor": _aotinductor,
    "onnx": _onnx,
}


def _in_batches_of(rows: int, model: Model) -> Model:
    """Ask a model that takes a fixed number of rows about one: the row is repeated."""

    def first(x: torch.Tensor) -> torch.Tensor:
        return model(x.expand(rows, -1).contiguous())[:1]

    return first


def _check_table(artefact: Artefact, statistics: TableStatistics) -> None:
    """Refuse a model that was trained on another table than the statistics describe."""
    path = artefact.path.with_name("training_stats.pt")
    if not path.is_file():
        return
    trained_on = _load_tensors(Artefact(artefact.mode, path, "weights"), path)
    features, known = [column.name for column in statistics.features], trained_on.get("features")
    if not isinstance(known, list) or known != features:
        listed = ", ".join(map(str, known)) if isinstance(known, list) else "that it does not tell"
        raise artefact.unusable(
            f"was trained on the features {listed}; the table now has {', '.join(features)}"
        )
    if trained_on.get("table_sha256") != statistics.table_sha256:
        raise artefact.unusable("was trained on another table, which has changed since")


def _load_tensors(artefact: Artefact, path: Path) -> dict[str, Any]:
    try:
        content = torch.load(io.BytesIO(read_bytes(path)), map_location="cpu", weights_only=True)
    except CorruptFile as error:
        raise artefact.unusable(error.unreadable.reason) from error
    except Exception as error:
        # A truncated archive raises one of a dozen classes.
        raise artefact.unusable(f"cannot be read ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise artefact.unusable("holds something else than named tensors")
    return content


def _last(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
