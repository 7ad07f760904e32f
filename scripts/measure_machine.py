"""Measure what this machine reaches at the most: matrix products and memory."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.profiling.supervised import measure_machine_supervised

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    measure_machine_supervised(
        snakemake.wildcards["device"],
        {"start": snakemake.params.start, **snakemake.params.limits},
        threads=snakemake.threads,
        output=Path(snakemake.output[0]),
        log=Path(snakemake.log[0]),
    )
