"""Write results/summary.csv and .parquet: one row per case."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.tables import summary_table, write_summary
from torchmodes.results.records import read_whole_records

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    records, unreadable = read_whole_records(map(Path, snakemake.input), blocks=False)
    write_summary(
        summary_table(records, unreadable),
        Path(snakemake.output.csv),
        Path(snakemake.output.parquet),
    )
