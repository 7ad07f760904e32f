"""Run the cases of a study; write results/studies/."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.planning.job import Job
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.writing import write_atomically
from torchmodes.studies.catalogue import STUDIES

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    jobs = [
        Job.planned(case, snakemake.params.limits, snakemake.input, threads=snakemake.threads)
        for case in snakemake.params.cases
    ]
    entry = STUDIES[snakemake.wildcards["study"]]
    result = entry.study(jobs, log=Path(snakemake.log[0]))
    write_atomically(Path(snakemake.output[0]), result.model_dump_json(indent=1) + "\n")
