"""Draw each figure of records and trainings into a file of its own."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.figures import figure_named
from torchmodes.report.loading import load_report_data
from torchmodes.report.plots import render, save

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = load_report_data(
        records=[Path(path) for path in snakemake.input.records],
        trainings=[Path(path) for path in snakemake.input.metrics],
    )
    for name, path in snakemake.output.items():
        save(render(figure_named(name), data), Path(path))
