"""Join the runs of a case into its record."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.measure.combine import combine
from torchmodes.processes.joblog import job_log
from torchmodes.results.records import read_record, write_record
from torchmodes.results.writing import tell

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    runs = [read_record(Path(path)) for path in snakemake.input]
    record = combine(runs, looks=snakemake.params.looks)
    write_record(record, Path(snakemake.output[0]))
    tell(record.in_brief())
