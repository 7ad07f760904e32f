"""The user's texts: a file with one text per line, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torchmodes.config.models import ModelSection

TOKENISER_FILES = ("tokenizer*", "vocab.*", "*.model")
"""What a tokeniser leaves in a folder, by save_pretrained or as it was published."""


def read_texts(path: Path) -> list[str]:
    """Read one text per line; empty lines do not count.

    Raises
    ------
    ValueError
        When the file is not there, is no text in UTF-8, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start + 1})") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give a file with one text per line") from None
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"{path}: holds no text; write one per line")
    return texts


def texts_faults(models: Mapping[str, ModelSection]) -> list[str]:
    """Tell which texts cannot be read, and which model's folder has no tokeniser for them."""
    faults = []
    for name, model in models.items():
        if (file := model.texts_file()) is None:
            continue
        try:
            read_texts(file)
        except ValueError as error:
            faults.append(f"models.{name}.lengths.file: {error}")
        folder = model.weights_folder()
        if folder and not any(any(folder.glob(pattern)) for pattern in TOKENISER_FILES):
            faults.append(
                f"models.{name}.lengths.file: {folder} has no tokeniser; save the model's own there"
                " with its save_pretrained, or give lengths.distribution"
            )
    return faults
