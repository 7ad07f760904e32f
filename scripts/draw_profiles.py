"""Draw the figures of the profiles: layers and memory of each, and those of all together."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.figures.profiles import draw_layers, draw_memory, draw_parts
from torchmodes.report.figures.roofline import draw_roofline
from torchmodes.report.loading import load_report_data
from torchmodes.report.style import figure_style, save

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), figure_style():
    data = load_report_data(
        [],
        profiles=[Path(path) for path in snakemake.input.profiles],
        roofline=Path(snakemake.input.roofline),
    )
    for profile in data.profiles:
        folder = Path(profile.case.profile)
        save(draw_layers(profile), folder / "layers.svg")
        save(draw_memory(profile), folder / "memory.svg")
    save(draw_parts(data.profiles), Path(snakemake.output.parts))
    save(draw_roofline(data.roofline), Path(snakemake.output.roofline))
