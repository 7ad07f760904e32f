"""Say what changed between two profiled cases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.profiling.diff import diff_directories
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    found = diff_directories(Path(snakemake.input.a).parent, Path(snakemake.input.b).parent)
    text = json.dumps(found, indent=1, allow_nan=False)
    write_atomically(Path(snakemake.output[0]), text + "\n")
