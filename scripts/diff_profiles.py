"""Say what changed between two profiled cases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.profiling.diff import diff_profiles
from torchmodes.profiling.reading import read_profile
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    a, b = (read_profile(Path(path).parent) for path in (snakemake.input.a, snakemake.input.b))
    found = diff_profiles(a, b)
    text = json.dumps(found, indent=1, allow_nan=False)
    write_atomically(Path(snakemake.output[0]), text + "\n")
