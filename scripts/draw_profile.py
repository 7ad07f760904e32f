"""Draw the figures of one profile."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.profiling.reading import read_profile
from torchmodes.report.figures import figures_of
from torchmodes.report.plots import render, save

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    profile = read_profile(Path(snakemake.input.summary).parent)
    for entry in figures_of("profiles"):
        if entry.of == "profile":
            save(render(entry, profile), Path(snakemake.output[entry.name]))
