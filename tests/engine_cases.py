"""What tests of engines share: two small models that between them hold what engines stumble over,
and modes as the configuration completes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn
from torch.nn import functional as F

from torchmodes.config.modes import Mode
from torchmodes.workloads.structures import Inputs


def mode(engine: str, **options: Any) -> dict[str, Any]:
    """Return a mode's section as an engine gets it: checked, and completed with defaults."""
    section: Any = TypeAdapter(Mode).validate_python({"engine": engine, **options})
    return section.model_dump()


class Convolutions(nn.Module):
    """Convolution, batch norm and dropout: what engines fold and drop. One positional input."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


class Attention(nn.Module):
    """Embedding, masked attention, layer norm. Two inputs, by keyword; a dictionary as output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.queries, self.keys, self.values = (nn.Linear(32, 32) for _ in range(3))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 50)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        hidden = self.embedding(input_ids)
        attended = F.scaled_dot_product_attention(
            self.queries(hidden)[:, None],  # one head
            self.keys(hidden)[:, None],
            self.values(hidden)[:, None],
            attn_mask=attention_mask[:, None, None] > 0,
        )
        hidden = self.norm(hidden + attended[:, 0])
        return {"logits": self.head(hidden), "hidden": hidden}


@dataclass(frozen=True)
class Example:
    """A module in evaluation mode, the inputs of one call, and what it returns for them."""

    module: nn.Module
    inputs: Inputs
    expected: Any


def convolutions(batch: int = 2) -> Example:
    """Return `Convolutions` with images of 8 × 8, its batch norm's statistics not 0 and 1."""
    return _example(Convolutions, lambda: Inputs.of(torch.randn(batch, 3, 8, 8)))


def attention(batch: int = 2) -> Example:
    """Return `Attention` with 6 tokens, of which the last rows lack three."""

    def inputs() -> Inputs:
        mask = torch.ones(batch, 6, dtype=torch.int64)
        mask[batch // 2 :, 3:] = 0
        return Inputs.of({"input_ids": torch.randint(0, 50, (batch, 6)), "attention_mask": mask})

    return _example(Attention, inputs)


MODELS = {"convolutions": convolutions, "attention": attention}


def _example(build: Callable[[], nn.Module], inputs: Callable[[], Inputs]) -> Example:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        module = build().eval()
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        given = inputs()
    with torch.no_grad():
        expected = given.call(module)
    return Example(module, given, expected)
