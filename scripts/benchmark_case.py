"""Measure a case against its baseline in one process: one of its runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.measure.benchmark import benchmark_case
from torchmodes.planning.job import Job
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.records import read_record, write_record
from torchmodes.results.writing import tell

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    job = Job.planned(
        snakemake.params.case, snakemake.params.limits, snakemake.input, threads=snakemake.threads
    )
    first = snakemake.input.get("first")
    record = benchmark_case(
        job,
        first=read_record(Path(first)) if first else None,
        ship_to=None if first else Path(snakemake.output[1]),
        log=Path(snakemake.log[0]),
        tell=tell,
    )
    run = Path(snakemake.output[0])
    write_record(record, run)
    tell(f"run {run.stem}: {record.in_brief()}")
