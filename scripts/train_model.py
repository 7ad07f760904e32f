"""Train the house-price model in one mode."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.planning.cases import within_limits
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.workloads.training.supervised import train_supervised

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    train_supervised(
        within_limits(snakemake.params.case, snakemake.params.limits),
        epochs=snakemake.params.epochs,
        threads=snakemake.threads,
        table=list(snakemake.input.table),
        operators=next(iter(snakemake.input.get("operators", [])), None),
        metrics=Path(snakemake.output.metrics),
        history=Path(snakemake.output.history),
        model=Path(snakemake.output.model),
        log=Path(snakemake.log[0]),
    )
