"""Load a text model and its tokeniser: the same module that the benchmark measures."""

from __future__ import annotations

from typing import Any, Literal

from torchmodes.config.models import TransformersModel
from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.hub import offline
from torchmodes.workloads.models.transformers import TokensToTensor


def load_text_model(
    source: str, *, head: Literal["base", "causal-lm"]
) -> tuple[TokensToTensor, Any]:
    """Build a model of transformers with its pretrained weights, on the CPU.

    Parameters
    ----------
    source
        A folder as transformers saves it, or an identifier of the hub that is in the cache.
    head
        What the output is: ``base`` for hidden states, ``causal-lm`` for logits of the next token.

    Raises
    ------
    ValueError
        When the model or its tokeniser is not on this machine.
    """
    from transformers import AutoTokenizer

    section = TransformersModel(
        family="transformers", source=source, weights="pretrained", head=head, sequence_length=1
    ).model_dump()
    module = build_model(section, seed=42, batch_size=1, device="cpu").module
    assert isinstance(module, TokensToTensor)
    try:
        with offline():
            return module, AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: no tokeniser beside the model") from error
