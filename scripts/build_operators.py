"""Compile the custom operators into results/operators/, or record why they cannot be."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.workloads.operators.job import build

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    build(library=Path(snakemake.output.library), report=Path(snakemake.output.build))
