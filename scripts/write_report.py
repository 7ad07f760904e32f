"""Write reports/report.html and reports/summary.md."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report import html, markdown
from torchmodes.report.loading import load_report_data

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = load_report_data(
        records=[Path(path) for path in snakemake.input.records],
        trainings=[Path(path) for path in snakemake.input.metrics],
        profiles=[Path(path) for path in snakemake.input.profiles],
        config=snakemake.params.config,
        studies=[Path(path) for path in snakemake.input.studies],
        table=next(map(Path, snakemake.input.table), None),
        roofline=next(map(Path, snakemake.input.roofline), None),
        diffs=[Path(path) for path in snakemake.input.diffs],
    )
    html.write_report(data, Path(snakemake.output.html))
    markdown.write_summary(data, Path(snakemake.output.markdown))
