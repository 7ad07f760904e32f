"""The hub that transformers and timm share: its cache, and nothing of the network."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def offline() -> Generator[None]:
    """Keep to the cache; under `local_files_only` alone the hub's client still asks it for news."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
