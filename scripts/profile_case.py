"""Record a few steps of one case under torch.profiler."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.profiling.supervised import profile_supervised

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    profile_supervised(
        snakemake.params.case,
        schedule=snakemake.params.profile,
        threads=snakemake.threads,
        table=list(snakemake.input.get("table", [])),
        operators=snakemake.input.get("operators") or None,
        trace=Path(snakemake.output.trace),
        operators_table=Path(snakemake.output.operators),
        summary=Path(snakemake.output.summary),
        log=Path(snakemake.log[0]),
    )
