"""Follow latency and throughput over batch sizes; write results/studies/."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.results.records import read_whole_records
from torchmodes.results.writing import write_atomically
from torchmodes.studies.batch_scaling import scale_batches

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    study = scale_batches(*read_whole_records(map(Path, snakemake.input), blocks=False))
    write_atomically(Path(snakemake.output[0]), json.dumps(study, indent=1) + "\n")
