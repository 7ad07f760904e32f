"""Make a study of the records of its cases; write results/studies/."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.results.records import read_whole_records
from torchmodes.results.writing import write_atomically
from torchmodes.studies.catalogue import STUDIES

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    records, unreadable = read_whole_records(map(Path, snakemake.input), blocks=False)
    entry = STUDIES[snakemake.wildcards["study"]]
    result = entry.study(records, unreadable, snakemake.params.modes)
    write_atomically(Path(snakemake.output[0]), result.model_dump_json(indent=1) + "\n")
