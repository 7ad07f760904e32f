"""Profile one case and leave its files in one directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.planning.cases import within_limits
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.profiling.supervised import profile_supervised

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    profile_supervised(
        within_limits(snakemake.params.case, snakemake.params.limits),
        schedule=snakemake.params.profile,
        threads=snakemake.threads,
        table=list(snakemake.input.get("table", [])),
        operators=next(iter(snakemake.input.get("operators", [])), None),
        directory=Path(snakemake.output.summary).parent,
        log=Path(snakemake.log[0]),
    )
