"""What a family of models imports, and for how much of it a process may be forked afterwards."""

from __future__ import annotations

IMPORTS = {
    "torchvision": ("torchvision.models",),
    "transformers": ("transformers.masking_utils", "transformers.models.auto.modeling_auto"),
}
"""The slow imports of a family."""

IMPORTS_BEHIND_A_FORK = {"transformers": ("transformers.modeling_utils",)}
"""Those that each process must do itself where there is a GPU: they import torchao, where that is
installed, which asks for its properties; a process that has initialised CUDA cannot be forked."""


def preloadable(family: str | None, *, gpu: bool) -> tuple[str, ...]:
    """Return the slow imports of a family that a process can be forked behind.

    Parameters
    ----------
    family
        None: of none.
    gpu
        Whether this machine has an NVIDIA GPU.
    """
    slow = IMPORTS.get(family or "", ())
    return slow if gpu else (*slow, *IMPORTS_BEHIND_A_FORK.get(family or "", ()))
