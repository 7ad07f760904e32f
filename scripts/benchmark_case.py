"""Measure one case against its baseline and write its record."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.records import read_record, write_record

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    aa = snakemake.input.get("aa")
    record = benchmark_case(
        snakemake.params.case,
        threads=snakemake.threads,
        table=snakemake.input.get("table", []),
        operators=snakemake.input.get("operators") or None,
        aa=read_record(Path(aa)) if aa else None,
        log=Path(snakemake.log[0]),
    )
    write_record(record, Path(snakemake.output[0]))
    print(record.in_brief())
