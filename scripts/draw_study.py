"""Draw what a study found."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.data import Study
from torchmodes.report.figures.panels import message_figure
from torchmodes.report.plots import save
from torchmodes.report.studies import draw_study
from torchmodes.results.reading import CorruptFile
from torchmodes.studies.catalogue import read_study

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as logger:
    study = Path(snakemake.input[0])
    try:
        figure = draw_study(Study(study.stem, read_study(study)))
    except CorruptFile as error:  # the report tells it too, and needs no figure
        logger.warning("%s", error)
        figure = message_figure(f"Nothing to show: {error}.")
    save(figure, Path(snakemake.output[0]))
