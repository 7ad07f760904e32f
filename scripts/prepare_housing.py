"""Write results/data/housing.csv: generated, or the checked columns of the user's file."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.workloads.training.dataset import read_table
from torchmodes.workloads.training.generate import generate_housing, write_housing

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = snakemake.params.data
    if data["source"] == "synthetic":
        table = generate_housing(rows=data["rows"], seed=snakemake.params.seed)
    else:
        table = read_table(Path(data["source"]), features=data["features"], target=data["target"])
    write_housing(table, Path(snakemake.output[0]))
