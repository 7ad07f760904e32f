"""Follow latency and throughput over batch sizes; write results/studies/."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.records import read_whole_records
from torchmodes.studies.batch_scaling import scale_batches
from torchmodes.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    study = scale_batches(*read_whole_records(map(Path, snakemake.input), quads=False))
    write_atomically(Path(snakemake.output[0]), json.dumps(study, indent=1) + "\n")
