"""Draw the figures of all profiles together."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.figures import figures_of
from torchmodes.report.loading import load_report_data
from torchmodes.report.plots import render, save

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = load_report_data(
        [Path(path) for path in snakemake.input.records],
        profiles=[Path(path) for path in snakemake.input.profiles],
        roofline=Path(snakemake.input.roofline),
    )
    for entry in figures_of("profiles"):
        if entry.of == "run":
            save(render(entry, data), Path(snakemake.output[entry.name]))
