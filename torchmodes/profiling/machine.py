"""A fingerprint of this machine, so that its peaks are measured again when it changes."""

from __future__ import annotations

from functools import cache

from torchmodes.machine.environment import describe_environment, fingerprint


@cache
def machine_fingerprint() -> str:
    """Digest processor, memory, operating system, build of PyTorch and GPU.

    Not the variables: a job's own (threads) differ from those of the workflow that plans it. Nor
    Python and packages: the peaks are PyTorch's, and installing OpenVINO moves none.
    """
    environment = describe_environment()
    return fingerprint(environment | {"python": None, "versions": {}, "variables": {}})
