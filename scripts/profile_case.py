"""Profile one case and leave its files in one directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.machine.environment import describe_environment
from torchmodes.measure.benchmark import loading_here
from torchmodes.planning.job import Job
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.profiling.files import write_profile
from torchmodes.results.records import read_record

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    job = Job.planned(
        snakemake.params.case, snakemake.params.limits, snakemake.input, threads=snakemake.threads
    )
    if first := snakemake.input.get("first"):
        job = loading_here(job, read_record(Path(first)), describe_environment())
    write_profile(
        job,
        schedule=snakemake.params.profile,
        directory=Path(snakemake.output.summary).parent,
        log=Path(snakemake.log[0]),
    )
