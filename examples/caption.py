"""A model that takes a dict and returns a tuple: an image beside tokens in, two tensors out.

Configured in config/kinds.yaml as of family user.
"""

from __future__ import annotations

import torch
from torch import nn

SIZE = 32
TOKENS = 16
WORDS = 100


class Caption(nn.Module):
    """Tells how well a caption fits an image, and which word comes next.

    Parameters
    ----------
    width
        Of what image and words are brought to.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.read = nn.Embedding(WORDS, width)
        self.tell = nn.Linear(width, WORDS)

    def forward(
        self, *, image: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the fit, shape (batch,), and a logit of each word, shape (batch, words)."""
        seen, words = self.see(image), self.read(tokens).mean(dim=1)
        return (seen * words).sum(dim=-1), self.tell(seen + words)


def build(width: int = 64) -> nn.Module:
    """Build it with weights drawn at random."""
    return Caption(width)


def inputs(batch_size: int) -> dict[str, torch.Tensor]:
    """Draw the arguments by name: images and their captions."""
    return {
        "image": torch.randn(batch_size, 3, SIZE, SIZE),
        "tokens": torch.randint(WORDS, (batch_size, TOKENS)),
    }
