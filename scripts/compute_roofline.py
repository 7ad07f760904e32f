"""Place every profiled case under the ceilings of its device."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.profiling.roofline import roofline
from torchmodes.records import read_records
from torchmodes.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    medians = {
        str(record.identity): record.statistics.candidate.median_s
        for record in read_records(map(Path, snakemake.input.records))
        if record.statistics is not None
    }
    profiles = [json.loads(Path(path).read_bytes()) for path in snakemake.input.profiles]
    machines = {
        Path(path).stem: json.loads(Path(path).read_bytes()) for path in snakemake.input.machines
    }
    found = roofline(profiles, machines, medians)
    write_atomically(Path(snakemake.output[0]), json.dumps(found, indent=1) + "\n")
