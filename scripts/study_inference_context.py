"""Compare the records of eager modes in different contexts; write results/studies/."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.records import read_whole_records
from torchmodes.studies.inference_context import compare_contexts
from torchmodes.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    records, unreadable = read_whole_records(map(Path, snakemake.input), quads=False)
    study = compare_contexts(records, snakemake.params.contexts, unreadable)
    write_atomically(Path(snakemake.output[0]), json.dumps(study, indent=1) + "\n")
