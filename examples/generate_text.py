"""Continue a text with a causal language model: the very module that is measured.

    python -m examples.generate_text FOLDER "The house was"
    python -m examples.generate_text openai-community/gpt2 "The house was" --tokens 40

FOLDER holds a model and its tokeniser as transformers saves them; an identifier of the hub does
too, where its files are in the cache (``hf download openai-community/gpt2``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.markup import escape
from torch import nn

from examples.text_models import load_text_model


def generate(
    module: nn.Module, tokens: torch.Tensor, *, count: int, end: int | None = None
) -> torch.Tensor:
    """Append the likeliest next token again and again.

    Each is one forward pass over the whole sequence, the call that the benchmark measures; a
    server would keep the attention keys of earlier tokens instead.

    Parameters
    ----------
    module
        From token ids of shape (1, tokens) to logits of shape (1, tokens, vocabulary).
    tokens
        The beginning, shape (1, tokens).
    count
        Tokens to append at the most.
    end
        The token that ends a text, if there is one.

    Returns
    -------
    torch.Tensor
        The beginning and its continuation, shape (1, up to tokens + count).
    """
    with torch.inference_mode():
        for _ in range(count):
            following = module(tokens)[:, -1].argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, following], dim=1)
            if following.item() == end:
                break
    return tokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Continue a text; return 1 when the model cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m examples.generate_text")
    parser.add_argument("source", help="a folder, or an identifier of the hub")
    parser.add_argument("prompt", nargs="?", default="The price of a house depends on")
    parser.add_argument("--tokens", type=int, default=40, help="tokens to append at the most")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    try:
        module, tokenizer = load_text_model(options.source, head="causal-lm")
    except ValueError as error:
        console.print(escape(str(error)), style="red")
        return 1
    beginning = tokenizer(options.prompt, return_tensors="pt")["input_ids"]
    positions = module.model.config.max_position_embeddings
    if beginning.shape[1] + options.tokens > positions:
        console.print(f"--tokens: prompt and text have {positions} positions together", style="red")
        return 1
    tokens = generate(module, beginning, count=options.tokens, end=tokenizer.eos_token_id)
    console.print(escape(tokenizer.decode(tokens[0], skip_special_tokens=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
