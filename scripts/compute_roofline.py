"""Place every profiled case under the peaks of its device."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.profiling.reading import machine_or_reason, summary_or_reason
from torchmodes.profiling.roofline import roofline
from torchmodes.results.records import read_whole_records
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    records, _ = read_whole_records(map(Path, snakemake.input.records), blocks=False)
    medians = {
        str(record.identity): record.statistics.candidate.median_s
        for record in records
        if record.statistics is not None
    }
    profiles = [summary_or_reason(Path(path)) for path in snakemake.input.profiles]
    machines = {Path(path).stem: machine_or_reason(Path(path)) for path in snakemake.input.machines}
    found = roofline(profiles, machines, medians)
    write_atomically(Path(snakemake.output[0]), json.dumps(found, indent=1) + "\n")
