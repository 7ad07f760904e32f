"""Sentence embeddings: what sentence-transformers does after a model of tokens, by its files.

The library itself is not needed: its folder tells in ``modules.json`` which modules follow each
other, and in ``1_Pooling/config.json`` how tokens become one vector.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchmodes.config.models import saved_model

MODES = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "max_tokens": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}
"""Ways to pool by their keys in ``config.json``, which say ``pooling_mode_mean_tokens: true``."""
KNOWN = ("mean", "cls", "max")


@dataclass(frozen=True)
class Pooling:
    """How the vectors of a sentence's tokens become one: mean, cls or max; of length 1, or not."""

    mode: str = "mean"
    normalised: bool = False

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Pool vectors of shape (batch, tokens, width) to (batch, width); padding does not count.

        The mask, of shape (batch, tokens), is 1 for a token and 0 for padding; None: there is none.
        """
        if self.mode == "cls":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(dim=1) if self.mode == "mean" else hidden.amax(dim=1)
        else:
            kept = attention_mask.unsqueeze(-1)
            if self.mode == "mean":
                pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
            else:
                pooled = hidden.masked_fill(kept == 0, float("-inf")).amax(dim=1)
        return nn.functional.normalize(pooled, dim=-1) if self.normalised else pooled


def read_pooling(source: str) -> Pooling:
    """Read how a model of sentence-transformers pools.

    Without a ``modules.json`` it is the mean of all tokens, as that library assumes. The source is
    a folder, an identifier of the hub whose files are in the cache, or a configuration name.

    Raises
    ------
    ValueError
        When other modules follow than Pooling and Normalize, or it pools in another way.
    """
    listed = _read(source, "modules.json")
    if listed is None:
        return Pooling()
    kinds = [module["type"].rpartition(".")[2] for module in listed]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"head: {source!r} is made of {', '.join(kinds)}; known is Transformer, then Pooling,"
            " then perhaps Normalize; bring it as a model of family user"
        )
    told = _read(source, f"{listed[1]['path']}/config.json")
    if told is None:
        raise ValueError(
            f"head: {source!r} lacks {listed[1]['path']}/config.json, which tells how it pools"
        )
    modes = [mode for key, mode in MODES.items() if told.get(f"pooling_mode_{key}")]
    modes = modes or [told.get("pooling_mode", "nothing")]
    if len(modes) > 1 or modes[0] not in KNOWN:
        raise ValueError(
            f"head: {source!r} pools by {' and '.join(map(str, modes))}; known is one of"
            f" {', '.join(KNOWN)}; bring it as a model of family user"
        )
    return Pooling(modes[0], normalised=kinds[-1] == "Normalize")


def _read(source: str, name: str) -> Any:
    """Read a JSON file of a folder, or of the hub's cache; None where there is none."""
    folder = saved_model(source)
    path = _cached(source, name) if folder is None else folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None


def _cached(source: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, name) if "/" in source else None
    return Path(found) if isinstance(found, str) else None
