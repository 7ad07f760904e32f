"""Which machine this is, so that its ceilings are measured again when it changes."""

from __future__ import annotations

from functools import cache

from torchmodes.environment import describe_environment, fingerprint


@cache
def machine_fingerprint() -> str:
    """Digest processor, memory, operating system, versions and GPU; not the variables.

    A job's own variables (threads) differ from those of the workflow that plans it.
    """
    return fingerprint(describe_environment(variables=()))
