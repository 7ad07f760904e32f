"""Write results/data/statistics.json from the training split of the table."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.workloads.training.dataset import fit_table, save_statistics

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = snakemake.params.data
    statistics = fit_table(
        Path(snakemake.input[0]),
        features=data["features"],
        target=data["target"],
        validation=data["validation"],
        test=data["test"],
        seed=snakemake.params.seed,
    )
    save_statistics(statistics, Path(snakemake.output[0]))
