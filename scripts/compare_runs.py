"""Write reports/comparison.html and .md: this run against another one."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.comparison.changes import compare
from torchmodes.report.comparison.pages import write_comparison
from torchmodes.report.comparison.runs import read_compared_run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    base = read_compared_run(map(Path, snakemake.input.base), name=snakemake.params.base)
    this = read_compared_run(map(Path, snakemake.input.this), name="results")
    write_comparison(
        compare(base, this),
        html=Path(snakemake.output.html),
        markdown=Path(snakemake.output.markdown),
        history=sorted([base, this], key=lambda run: run.finished_at),
    )
