"""A program that runs one supervised case, as a job of a workflow would.

Usage: run_case.py OUTCOME ARGUMENTS; ARGUMENTS is the JSON of run_supervised's parameters. Its
outcome is written to OUTCOME as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from torchmodes.processes.supervise import run_supervised


def main() -> None:
    parameters = json.loads(sys.argv[2])
    outcome = run_supervised(**{**parameters, "log": Path(parameters["log"])})
    part = Path(sys.argv[1] + ".part")
    part.write_text(json.dumps(dataclasses.asdict(outcome)))
    part.replace(sys.argv[1])


if __name__ == "__main__":
    main()
