"""Write results/summary.csv and .parquet: one row per case."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.records import read_records
from torchmodes.report.tables import summary_table, write_summary

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    table = summary_table(read_records(map(Path, snakemake.input), quads=False))
    write_summary(table, Path(snakemake.output.csv), Path(snakemake.output.parquet))
