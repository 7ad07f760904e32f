"""Measure one case against its baseline and write its record."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.measure.benchmark import benchmark_case
from torchmodes.planning.job import Job
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.records import read_record, write_reserved
from torchmodes.results.writing import reserve, tell

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    job_log(snakemake.log[0]),
    alone_on_machine(),
    reserve(Path(snakemake.output[0])) as reservation,
):
    job = Job.planned(
        snakemake.params.case, snakemake.params.limits, snakemake.input, threads=snakemake.threads
    )
    aa = snakemake.input.get("aa")
    record = benchmark_case(
        job,
        aa=read_record(Path(aa)) if aa else None,
        log=Path(snakemake.log[0]),
        tell=tell,
    )
    tell(write_reserved(record, reservation).in_brief())
