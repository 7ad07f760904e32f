"""Compile the custom operators into results/operators/, or record why they cannot be."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.workloads.operators.build import build_or_tell

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    build_or_tell(library=Path(snakemake.output.library), report=Path(snakemake.output.build))
