"""Batches of texts of different lengths, padded and masked, for models of token ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchmodes.config.lengths import Lengths
from torchmodes.planning.texts import read_texts
from torchmodes.workloads.batches import BatchSchedule
from torchmodes.workloads.structures import Inputs


def schedule_of_texts(
    spec: Mapping[str, Any],
    *,
    seed: int,
    batch_size: int,
    vocabulary: int,
    padding_id: int | None,
) -> BatchSchedule:
    """Make the batches of a model's `lengths`: ids and mask, of shape (batch, tokens).

    With ``side: left`` a third tensor numbers each text's positions from its first token on. The
    model knows so many tokens (`vocabulary`), and its configuration pads with `padding_id`.

    Raises
    ------
    ValueError
        Naming the key: no tokeniser, no texts, fewer than a batch, several in an unpadded one.
    """
    lengths, longest = Lengths.model_validate(spec["lengths"]), spec["sequence_length"]
    if lengths.file is not None:
        tokenizer = load_tokenizer(spec["source"])
        texts = tokenised(tokenizer, read_texts(Path(lengths.file)), vocabulary=vocabulary)
        pads = padding_id, tokenizer.pad_token_id
    else:
        count = lengths.batches * batch_size
        texts = drawn(lengths, longest, count=count, vocabulary=vocabulary, seed=seed)
        pads = (padding_id,)
    pad = next((one for one in pads if one is not None), 0)  # it is masked, whatever it is
    # The first that arrive; then sorted, so that a limit leaves long and short ones alike.
    taken = texts[: min(len(texts) // batch_size, lengths.batches) * batch_size]
    if not taken:
        raise ValueError(
            f"lengths.file: {lengths.file} has {len(texts)} texts, fewer than a batch of"
            f" {batch_size}; add some, or use smaller batch_sizes"
        )
    truncated = sum(len(text) > longest for text in taken)
    taken = [text[:longest] for text in taken]
    if lengths.sorted:
        taken.sort(key=len)
    batches, tokens = [], []
    for start in range(0, len(taken), batch_size):
        group = taken[start : start + batch_size]
        sizes = [len(text) for text in group]
        if lengths.padding == "none" and len(set(sizes)) > 1:
            raise ValueError("lengths.padding: none cannot hold texts of different lengths")
        width = lengths.width(max(sizes), longest)
        batches.append(padded(group, width, pad=pad, side=lengths.side))
        tokens.append(sum(sizes))
    return BatchSchedule(
        batches=tuple(batches),
        tokens=tuple(tokens),
        padding=lengths.padding,
        left_out=len(texts) - len(taken),
        truncated=truncated,
    )


def load_tokenizer(source: str) -> Any:
    """Load a model's own tokeniser, from its folder or the hub's cache.

    Raises
    ------
    ValueError
        When there is none.
    """
    from transformers import AutoTokenizer

    folder = Path(source).expanduser()
    try:
        return AutoTokenizer.from_pretrained(
            folder if folder.is_dir() else source, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # each tokeniser misses its files in its own way
        raise ValueError(
            f"lengths.file: no tokeniser of {source!r} is on this machine; name a folder or an"
            " identifier in the hub's cache that has one, or give lengths.distribution"
        ) from error


def tokenised(tokenizer: Any, texts: list[str], *, vocabulary: int) -> list[list[int]]:
    """Return the token ids of each text, special tokens included.

    Raises
    ------
    ValueError
        When a text has no token, or one that the model does not know.
    """
    found: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
    for text, tokens in zip(texts, found, strict=True):
        if not tokens:
            raise ValueError(f"lengths.file: {text[:40]!r} has no token")
        if max(tokens) >= vocabulary:
            raise ValueError(
                f"lengths.file: the tokeniser has tokens beyond the model's {vocabulary}: they do"
                " not belong together"
            )
    return found


def drawn(
    lengths: Lengths, sequence_length: int, *, count: int, vocabulary: int, seed: int
) -> list[list[int]]:
    """Draw texts: their lengths from the distribution, their tokens at random."""
    draw, top = np.random.default_rng(seed), lengths.max or sequence_length
    if lengths.distribution == "uniform":
        sizes = draw.integers(lengths.min, top, size=count, endpoint=True)
    else:
        assert lengths.median is not None, "a lognormal has one"
        sizes = np.rint(draw.lognormal(np.log(lengths.median), lengths.spread, size=count))
    return [
        draw.integers(vocabulary, size=int(size)).tolist()
        for size in np.clip(sizes, lengths.min, top)
    ]


def padded(texts: list[list[int]], width: int, *, pad: int, side: str) -> Inputs:
    """Put texts into one tensor of token ids, with the mask of what is no padding."""
    ids = torch.full((len(texts), width), pad)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, place], mask[row, place] = torch.tensor(text), 1
    if side == "right":
        return Inputs.of((ids, mask))
    return Inputs.of((ids, mask, (mask.cumsum(dim=1) - 1).clamp(min=0)))


def without_padding(output: Any, inputs: Inputs) -> Any:
    """Return an output with zeros where its inputs are padding, which nobody reads.

    What attention leaves in a row that may look at nothing differs from kernel to kernel. An output
    of another form than (batch, tokens, …), of a classifier or a sentence, counts as it is.
    """
    mask = inputs.args[1].cpu()
    if not isinstance(output, torch.Tensor) or output.dim() < 3:
        return output
    kept = mask.bool().reshape(*mask.shape, *[1] * (output.dim() - 2))
    return torch.where(kept, output, torch.zeros((), dtype=output.dtype))
