"""Eager: PyTorch as it is, the baseline of every comparison."""

from __future__ import annotations

from torchmodes.modes import base


class Engine(base.Engine):
    """Calls the module."""
