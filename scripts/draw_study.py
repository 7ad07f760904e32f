"""Draw what a study found."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.report.figures.studies import draw_study
from torchmodes.report.plots import save

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    study = Path(snakemake.input[0])
    content = json.loads(study.read_text(encoding="utf-8"))
    save(draw_study(study.stem, content), Path(snakemake.output[0]))
