"""The user's own model: two functions in a file of theirs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from torchmodes.models.base import BuiltModel, Inputs
from torchmodes.user_code import load_function


def build(
    spec: dict[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Call the user's factory and inputs functions, both under the seed.

    Raises
    ------
    ValueError
        When the factory does not return a module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = load_function(spec["factory"])(**spec["options"])
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"{spec['factory']} returned {type(module).__name__}, not a torch.nn.Module"
            )
        inputs = Inputs.of(load_function(spec["inputs"])(batch_size))
    return BuiltModel(module=module.eval(), inputs=inputs, item=spec["item"], batch_size=batch_size)
